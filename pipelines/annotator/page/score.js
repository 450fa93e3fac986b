// How well an interpreter that has not seen an image labels what was drawn in it, and what the classes lack.

const byId = (id) => document.getElementById(id);
const percent = (value) => (value === null ? "–" : value.toFixed(2));

export function showScore(found, classes) {
  const score = byId("score");
  if (found.mean_iou === null) return;
  score.replaceChildren();
  const number = document.createElement("b");
  number.textContent = found.mean_iou.toFixed(2);
  score.append(
    "mIoU ", number,
    ` on ${found.pixels} drawn pixels of ${found.images} images, each labelled without having learnt from it. ` +
    "Drawn pixels are no random sample: a whole image may come out better or worse.",
  );
  const rows = classes.map(({ name }, id) => {
    const row = document.createElement("tr"), said = document.createElement("td"), value = document.createElement("td");
    const images = found.images_of_class[id] ?? 0;
    const lack = images === 0 ? "no pixel yet" : images === 1 ? "in one image only" : "";
    said.textContent = name;
    value.textContent = lack || percent(found.iou[id] ?? null);
    row.append(said, value);
    return row;
  });
  byId("iou").tBodies[0].replaceChildren(...rows);
  byId("iou").hidden = false;
}
