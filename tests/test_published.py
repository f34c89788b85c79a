import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from m5utils import paths, published
from m5utils.evaluation import Judgement, PairJudgement

OURS = {system.ours for system in published.SYSTEMS if system.ours}


def judgement(first):
    """R@1, R@5, R@10 of 1, 1 and `first`, or so, for 40 queries."""
    values = {f"recall@{k}": np.full((1, 40), share) for k, share in ((1, first), (5, 0.5), (10, 0.75))}
    return Judgement(values | {"rank": np.ones((1, 40))})


def judged(first=0.25):
    return {name: PairJudgement(judgement(first), judgement(first / 2)) for name in OURS}


def test_ours_and_theirs_stand_apart():
    table = published.beside(judged(), 10)
    assert table.index.tolist() == [system.name for system in published.SYSTEMS]
    assert table.index.is_unique
    row = table.loc["CCA"]
    assert row["ours, I2T"] == "25.0 [25.0, 25.0] / 50.0 / 75.0"
    assert row["ours, T2I"] == "12.5 [12.5, 12.5] / 50.0 / 75.0"
    assert row["published, I2T"] == "31.0 / 59.3 / 73.7"
    assert table.loc["deep CCA", "published, T2I"] == "26.3 / – / –"


def test_every_row_has_a_number_or_the_sentence():
    table = published.beside(judged(), 10)
    for row in table.itertuples():
        said = row[3].startswith("not reproduced: ")
        assert said == (row[1] == row[2] == "–"), row[0]
        assert all(cell.strip() for cell in row)


def test_the_table_has_the_related_work_of_the_slides():
    names = " ".join(system.name for system in published.SYSTEMS)
    expected = "CCA, deep CCA, DeViSE, WSABIE, PAMIR, One-vs-Rest, Karpathy, Kiros, VSE++, InfoNCE, sigmoid"
    expected += ", auto-encoder, recursive, recurrent, m-RNN, LRCN, caption transfer, abstract scenes"
    for one in [*expected.split(", "), "Visual Genome"]:
        assert one in names


def test_published_numbers_are_percent_in_order_with_features_and_split():
    given = 0
    for system in published.SYSTEMS:
        for recalls in (system.image_to_text, system.text_to_image):
            numbers = [each for each in recalls if each is not None]
            assert numbers == sorted(numbers)
            assert all(1 < each < 100 for each in numbers)
            assert not numbers or re.search(r"(Flickr8k|Flickr30k|COCO) test [15]K", system.theirs), (
                system.name
            )
            given += len(numbers)
    assert given > 50


def test_sources_are_named_as_in_the_references():
    keys = re.findall(r"(?m)^@\w+\{(\w+),", (paths.ROOT / "report" / "refs.bib").read_text(encoding="utf-8"))
    sources = {system.source for system in published.SYSTEMS}
    assert all(re.fullmatch(r"[a-z]+\d{4}", source) for source in sources)
    assert len(sources & set(keys)) >= 10


def test_a_method_that_was_not_judged_is_named():
    some = judged()
    del some["likelihood"]
    with pytest.raises(ValueError, match="missing: likelihood"):
        published.beside(some, 10)


def test_the_papers_tables_stand_beside_ours():
    rows = pd.DataFrame({"NDCG AUC": ["60.0", "50.0"]}, index=["v_v", "ours alone"])
    table = published.of_meaning(rows)
    assert table.loc["v_v"].tolist() == ["60.0", "76.9", "70.1", "20.7"]
    assert table.loc["ours alone"].tolist() == ["50.0", "–", "–", "–"]
    assert list(table) == ["NDCG AUC", "US, theirs", "NDCG AUC, theirs", "PCC AUC, theirs"]


def test_systems_are_data():
    with pytest.raises(dataclasses.FrozenInstanceError):
        published.SYSTEMS[0].ours = "best"
