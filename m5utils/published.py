"""The related work: what others have published, beside what was measured here, and never mixed with it.

Knows citations, and judgements of pairs. Must not know features, models or files. The published numbers are
none of our results: no choice is made by them, and they enter no file of numbers.
Slides: Gordo & Larlus, "related work".
"""

from dataclasses import dataclass

import pandas as pd

from m5utils.evaluation import Judgement, PairJudgement

Recalls = tuple[float | None, float | None, float | None]
"""R@1, R@5, R@10 in percent; None where it was not given."""

NONE: Recalls = (None, None, None)
TEST = "Flickr8k test 1K"


@dataclass(frozen=True)
class System:
    """A row: a method of the literature, what of ours stands for it, and what its authors reached.

    Attributes:
        name: For the reader.
        ours: The name under which it is judged here; "" if it was not reproduced.
        how: What ours is, in a few words; or why it was not reproduced.
        source: Author and year, as in report/refs.bib where it is cited there.
        theirs: Their features and protocol.
        image_to_text: What they published.
        text_to_image: The same.
    """

    name: str
    ours: str
    how: str
    source: str
    theirs: str
    image_to_text: Recalls = NONE
    text_to_image: Recalls = NONE


SYSTEMS = (
    System(
        "CCA",
        "cca_tfidf",
        "closed form, directions weighed by a power of their correlations (Gong et al.)",
        "klein2015",
        f"VGG-19, Fisher vectors of words (GMM + HGLMM), {TEST}",
        (31.0, 59.3, 73.7),
        (21.2, 50.0, 64.8),
    ),
    System(
        "deep CCA",
        "deep_cca_tfidf",
        "one hidden layer a side, trace norm of a batch",
        "yan2015",
        f"VGG, {TEST}",
        (28.2, None, None),
        (26.3, None, None),
    ),
    System(
        "DeViSE",
        "devise_tfidf",
        "linear heads, hinges from the image only",
        "frome2013",
        f"R-CNN, as made again by others, {TEST}",
        (4.8, 16.5, 27.3),
        (5.9, 20.1, 29.6),
    ),
    System(
        "WSABIE",
        "wsabie_tfidf",
        "linear heads, WARP from the image only",
        "weston2011",
        "single words as annotations of ImageNet and of web images, by precision",
    ),
    System(
        "PAMIR",
        "pamir_tfidf",
        "a bilinear score, passive-aggressive steps from the text only",
        "grangier2008",
        "keyword queries to Corel images, by average precision",
    ),
    System(
        "One-vs-Rest",
        "one_vs_rest",
        "a classifier per word; a caption is the sum of its words",
        "weston2011",
        "single words, as WSABIE's baseline",
    ),
    System(
        "bi-directional max-margin (Karpathy)",
        "bidirectional_tfidf",
        "linear heads, hinges both ways; whole images, no regions",
        "karpathy2015",
        f"R-CNN regions, bi-directional RNN, {TEST}",
        (16.5, 40.6, 54.2),
        (11.8, 32.1, 44.7),
    ),
    System(
        "bi-directional max-margin over a recurrent sentence model (Kiros)",
        "recurrent",
        "linear head of images, GRU over FastText, hinges both ways",
        "kiros2014",
        f"VGG-19, LSTM, {TEST}",
        (18.0, 40.9, 55.0),
        (12.5, 37.0, 51.5),
    ),
    System(
        "VSE++",
        "hardest_tfidf",
        "linear heads, hardest negative of the batch",
        "faghri2018",
        "ResNet-152 fine-tuned, GRU, Flickr30k test 1K",
        (52.9, 80.5, 87.2),
        (39.6, 70.1, 79.5),
    ),
    System(
        "InfoNCE",
        "info_nce_tfidf",
        "linear heads, softmax over the batch both ways",
        "radford2021",
        "CLIP B/32, 400 million pairs of its own, zero-shot, COCO test 5K",
        (50.1, 75.0, 83.5),
        (30.4, 55.9, 66.9),
    ),
    System(
        "sigmoid",
        "sigmoid_tfidf",
        "linear heads, each pair of the batch a yes or a no",
        "zhai2023",
        "SigLIP so400m at 384 px, billions of pairs of its own, zero-shot, COCO test 5K",
        (72.4, 90.0, 94.5),
        (54.2, 76.8, 84.2),
    ),
    System(
        "bimodal auto-encoder",
        "autoencoder_tfidf",
        "one code, told from either side",
        "ngiam2011",
        "sound and video of lips, by classification",
    ),
    System(
        "recursive sentence model (DT-RNN)",
        "",
        "its tree is a dependency parse, and there is no parser among the packages",
        "socher2014",
        f"R-CNN, SDT-RNN, {TEST}",
        (6.0, 22.7, 34.0),
        (6.6, 21.6, 31.7),
    ),
    System(
        "m-RNN, sentence likelihood",
        "likelihood",
        "GRU language model; p(caption | image) / p(caption)",
        "mao2015",
        f"AlexNet, {TEST}",
        (14.5, 37.2, 48.5),
        (11.5, 31.0, 42.4),
    ),
    System(
        "LRCN",
        "",
        "the image enters every step of its LSTM, so every pair of an image and a caption needs a pass of "
        "its own: the notebook measures what that would take",
        "donahue2015",
        "VGG, Flickr30k test 1K",
        (23.6, 46.6, 58.3),
        (17.5, 40.3, 50.8),
    ),
    System(
        "caption transfer",
        "transfer_tfidf",
        "captions of the nearest images of train; nothing is learned",
        "hodosh2013",
        "captions judged by people from 1 to 4, Flickr8k",
    ),
    System(
        "abstract scenes",
        "",
        "a set of clip-art scenes and no method of retrieval; the drawn world here plays its part",
        "zitnick2013",
        "semantics of 10,020 clip-art scenes",
    ),
    System(
        "Visual Genome",
        "",
        "data and no method, and not at hand: 108,000 photographs with scene graphs",
        "krishna2017",
        "what Gordo and Larlus train and ask people on",
    ),
)

MEANING: dict[str, tuple[float | None, float | None, float | None]] = {
    "human": (89.1, None, None),
    "text_oracle": (76.3, 100.0, 100.0),
    "random": (50.0, 10.2, -0.2),
    "visual_baseline": (64.0, 58.4, 16.1),
    "wsabie": (67.8, 61.0, 15.7),
    "v_v": (76.9, 70.1, 20.7),
    "vt_v": (77.2, 68.8, 21.1),
    "vt_vt": (78.6, 74.4, 22.5),
    "objects": (63.4, None, None),
    "meteor": (72.1, None, None),
    "words_fisher": (70.1, None, None),
    "tfidf": (76.3, None, None),
    "transferred": (62.5, None, None),
}
"""Gordo and Larlus, CVPR 2017, Tables 1 and 2, percent: agreement with their user study, NDCG AUC, PCC AUC.

ResNet-101 R-MAC, trained end to end on Visual Genome's photographs, which are also those that are searched.
"transferred" stands beside their captions made by a network."""


def of_meaning(rows: pd.DataFrame) -> pd.DataFrame:
    """A table of semantic retrieval with what was published, in columns of their own.

    Args:
        rows: By method, see `MEANING`; a method that is not in it gets dashes.
    """
    nothing = (None, None, None)
    given = [MEANING.get(name, nothing) for name in rows.index]
    cells = [["–" if value is None else f"{value:.1f}" for value in values] for values in given]
    titles = ["US, theirs", "NDCG AUC, theirs", "PCC AUC, theirs"]
    return pd.concat([rows, pd.DataFrame(cells, rows.index, titles)], axis=1)


COLUMNS = ("ours, I2T", "ours, T2I", "what ours is", "published, I2T", "published, T2I", "theirs", "source")


def beside(judged: dict[str, PairJudgement], resamples: int) -> pd.DataFrame:
    """A row for each of `SYSTEMS`: ours, and apart from it what its authors published.

    Cells are R@1 / R@5 / R@10 in percent; ours has the 95 % interval of R@1 over images. A system that was
    not reproduced has the sentence in the place of a number.

    Args:
        judged: Every method of ours that a system names.
        resamples: Of the bootstrap.

    Raises:
        ValueError: If one of them is missing.
    """
    missing = [system.ours for system in SYSTEMS if system.ours and system.ours not in judged]
    if missing:
        raise ValueError(f"expected a judgement of every method in the table; missing: {', '.join(missing)}")
    rows = {}
    for system in SYSTEMS:
        how, cells = f"not reproduced: {system.how}", ["–", "–"]
        if system.ours:
            how, found = system.how, judged[system.ours]
            cells = [_measured(each, resamples) for each in found.directions().values()]
        theirs = [_given(system.image_to_text), _given(system.text_to_image)]
        rows[system.name] = [*cells, how, *theirs, system.theirs, system.source]
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("system")


def _measured(found: Judgement, resamples: int) -> str:
    low, high = (100 * end for end in found.interval("recall@1", resamples))
    first, *others = (100 * found.mean(f"recall@{k}") for k in (1, 5, 10))
    return f"{first:.1f} [{low:.1f}, {high:.1f}] / " + " / ".join(f"{each:.1f}" for each in others)


def _given(recalls: Recalls) -> str:
    """As published; a dash where nothing was."""
    if recalls == NONE:
        return "–"
    return " / ".join("–" if each is None else f"{each:.1f}" for each in recalls)
