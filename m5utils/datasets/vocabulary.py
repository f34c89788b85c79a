"""The words for the drawn world: names, numbers, poses, places, times, relations, each in several ways.

Knows which word fits what. Must not know word order: see `m5utils.datasets.grammar`.
"""

Word = tuple[str, str]  # singular, plural

# What each category is called; no word belongs to two of them, and no other word of a caption is among them.
NAMES: dict[str, tuple[Word, ...]] = {
    "person": (("person", "people"),),
    "bicycle": (("bicycle", "bicycles"), ("bike", "bikes")),
    "car": (("car", "cars"), ("car", "cars"), ("automobile", "automobiles")),
    "bus": (("bus", "buses"),),
    "boat": (("boat", "boats"),),
    "bench": (("bench", "benches"),),
    "bird": (("bird", "birds"),),
    "cat": (("cat", "cats"),),
    "dog": (("dog", "dogs"),),
    "horse": (("horse", "horses"),),
    "sheep": (("sheep", "sheep"),),
    "umbrella": (("umbrella", "umbrellas"),),
    "sports ball": (("ball", "balls"),),
    "kite": (("kite", "kites"),),
    "chair": (("chair", "chairs"),),
    "potted plant": (("potted plant", "potted plants"), ("plant", "plants"), ("houseplant", "houseplants")),
}
# Further names, for those whose kind, pose, size or colour they fit.
SPECIAL: dict[tuple[str, str], tuple[Word, ...]] = {
    ("person", "man"): (("man", "men"), ("man", "men"), ("guy", "guys")),
    ("person", "woman"): (("woman", "women"), ("woman", "women"), ("lady", "ladies")),
    ("person", "boy"): (("boy", "boys"), ("young boy", "young boys"), ("kid", "kids"), ("child", "children")),
    ("person", "girl"): (
        ("girl", "girls"),
        ("little girl", "little girls"),
        ("kid", "kids"),
        ("child", "children"),
    ),
    ("boat", "sailing"): (("sailboat", "sailboats"), ("sailing boat", "sailing boats")),
    ("boat", "rowing"): (("rowing boat", "rowing boats"), ("rowboat", "rowboats")),
    ("dog", "small"): (("puppy", "puppies"),),
    ("cat", "small"): (("kitten", "kittens"),),
    ("umbrella", "open"): (("parasol", "parasols"), ("beach umbrella", "beach umbrellas")),
    ("sports ball", "white"): (("soccer ball", "soccer balls"), ("football", "footballs")),
    ("sports ball", "orange"): (("basketball", "basketballs"),),
}
NUMBERS = ("no", "one", "two", "three", "four")
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big")}
POSES: dict[tuple[str, str], tuple[str, ...]] = {
    ("person", "standing"): ("standing",),
    ("person", "walking"): ("walking",),
    ("person", "sitting"): ("sitting",),
    ("bird", "standing"): ("standing",),
    ("bird", "flying"): ("flying",),
    ("cat", "sitting"): ("sitting",),
    ("cat", "standing"): ("standing", "walking"),
    ("cat", "lying"): ("lying", "lying down", "resting"),
    ("dog", "standing"): ("standing",),
    ("dog", "sitting"): ("sitting",),
    ("horse", "standing"): ("standing",),
    ("horse", "grazing"): ("grazing",),
    ("sheep", "standing"): ("standing",),
    ("sheep", "grazing"): ("grazing",),
    ("car", ""): ("parked",),
    ("boat", "sailing"): ("sailing", "floating"),
    ("boat", "rowing"): ("floating",),
    ("kite", ""): ("flying",),
}
# Where anything in a setting is, what stands on its ground, what floats and what flies.
PLACES: dict[str, tuple[str, ...]] = {
    "park": ("in a park", "in the park", "in a green park"),
    "street": ("on a street", "on a city street", "in the street", "in the city", "in a town"),
    "beach": ("at the beach", "at a beach", "by the sea", "near the ocean"),
    "lake": ("at a lake", "at the lake"),
    "field": ("in a field", "in a grassy field", "in a meadow", "out in the countryside"),
    "snow": ("in the snow", "in a snowy landscape", "outside in winter"),
    "room": ("in a room", "inside a house", "indoors", "in a living room"),
}
ASHORE = {
    "beach": ("on a beach", "on the beach", "at the beach", "by the sea"),
    "lake": ("by a lake", "next to a lake", "near the water", "by the water"),
}
AFLOAT = {
    "beach": ("on the sea", "on the ocean", "on the water"),
    "lake": ("on a lake", "on the water", "on the lake"),
}
ALOFT = {
    "park": ("over a park", "above the trees of a park", "in the sky"),
    "street": ("over a street", "above the street"),
    "beach": ("over a beach", "above the sea", "in the sky", "over the beach"),
    "lake": ("over a lake", "above the water", "in the sky"),
    "field": ("over a field", "above a meadow", "in the sky"),
    "snow": ("over a snowy landscape", "in the winter sky"),
}
SCENES: dict[str, tuple[str, ...]] = {
    "park": ("a park", "a green park"),
    "street": ("a street", "a city street"),
    "beach": ("a beach", "a sandy beach"),
    "lake": ("a lake", "the shore of a lake"),
    "field": ("a field", "a grassy field"),
    "snow": ("a snowy landscape", "a winter scene"),
    "room": ("a room", "a living room"),
}
TIMES: dict[str, tuple[str, ...]] = {
    "sunny": ("on a sunny day", "on a clear day", "in the sunshine"),
    "cloudy": ("on a cloudy day", "under a grey sky", "on a gray day"),
    "evening": ("at sunset", "in the evening", "at dusk"),
    "": (),
}
# What goes between subject and object, and what if they change places; {} and {} become the object and
# the subject's pronoun.
RELATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "riding": (("riding", "on"), ()),
    "holding": (("holding", "with", "under"), ()),
    "on": (("on", "on top of"), ("with {} on {}",)),
    "in": (("in", "inside"), ("with {} in {}",)),
    "left of": (("to the left of", "left of", "on the left of"), ("to the right of", "right of")),
    "in front of": (("in front of",), ("behind",)),
    "above": (("above", "over"), ("below", "under")),
    "next to": (("next to", "beside", "near", "close to"), ()),
}
