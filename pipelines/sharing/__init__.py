"""A dataset or a model looked at, described and given away: sheets of samples, cards, Croissant, the Hub."""
