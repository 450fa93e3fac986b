"""Jobs, told by what Ray's client answers; tests/test_submit.py has them on a real head."""

import pytest

from cluster import ClusterError, stop


class Head:
    """A head that knows no job."""

    def __init__(self, address: str) -> None:
        pass

    def get_job_info(self, job: str) -> None:
        raise RuntimeError(f"Request failed with status code 404: Job {job} does not exist.")


def test_a_stop_of_an_unknown_job_says_once_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.jobs._client", Head)
    with pytest.raises(ClusterError) as raised:
        stop("http://head:8265", "raysubmit_no")
    assert str(raised.value) == (
        "The cluster at http://head:8265 knows no job 'raysubmit_no': "
        "Request failed with status code 404: Job raysubmit_no does not exist."
    )
