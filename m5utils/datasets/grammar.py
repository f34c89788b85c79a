"""What people say about a scene of the drawn world: captions by a small grammar with synonyms.

Knows words, plurals and word order. Must not know how a scene is made or drawn: see
`m5utils.datasets.coco_scenes`.

Every caption is true, and none says everything: one names the main thing and the place, another a colour,
a number or where two things are. A category is spoken of as a whole, so "two dogs" are all dogs there are.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from m5utils.datasets.casting import Thing
from m5utils.datasets.coco_scenes import HELD, Graph
from m5utils.datasets.vocabulary import (
    AFLOAT,
    ALOFT,
    ASHORE,
    NAMES,
    NUMBERS,
    PLACES,
    POSES,
    RELATIONS,
    SCENES,
    SIZES,
    SPECIAL,
    TIMES,
    Word,
)

PER_IMAGE = 5


@dataclass(frozen=True)
class Group:
    """All things of a category in a scene, and where they are in its list."""

    category: str
    things: tuple[Thing, ...]
    places: tuple[int, ...]

    @property
    def plural(self) -> bool:
        """Whether there are several."""
        return len(self.things) > 1

    def only(self, name: str) -> str | None:
        """The value of an attribute if all agree on it, else None."""
        values = {getattr(thing, name) for thing in self.things}
        return values.pop() if len(values) == 1 else None


@dataclass(frozen=True)
class Fact:
    """Where one group is, seen from another: one of the phrases goes between them."""

    subject: Group
    phrases: tuple[str, ...]
    object: Group


@dataclass(frozen=True)
class Teller:
    """Somebody who describes a scene.

    Attributes:
        rng: The source of chance.
        graph: The scene.
        groups: Its things by category, the most striking first.
        facts: How the groups relate.
        colours: How likely it is that a colour is told.
    """

    rng: random.Random
    graph: Graph
    groups: tuple[Group, ...]
    facts: tuple[Fact, ...]
    colours: float

    def likely(self, chance: float) -> bool:
        """True in this share of the cases."""
        return self.rng.random() < chance


# The words for a group -------------------------------------------------------------------------------


def nouns(group: Group, teller: Teller) -> str:
    """The group in words, such as "a brown dog", "two dogs" or "a man and a woman"."""
    if group.category == "person" and group.plural:
        return _people(group, teller)
    colour, known = group.only("colour"), teller.likely(teller.colours)
    if known and colour is None and len(group.things) == 2:
        one, other = (_single(thing, _adjective(thing.colour, teller), teller) for thing in group.things)
        return f"{one} and {other}"
    if not group.plural:
        return _single(group.things[0], _adjective(colour, teller) if known else "", teller)
    number, name = _number(len(group.things), teller), _name(group.things, teller)[1]
    told = _adjective(colour, teller) if known and colour else ""
    if told and group.category == "potted plant":
        return f"{number} {name} in {told} pots"
    return " ".join(word for word in (number, told, name) if word)


def _single(thing: Thing, colour: str, teller: Teller) -> str:
    """One thing; a person's colour is that of the shirt, a plant's that of the pot."""
    name = _name((thing,), teller)[0]
    size = teller.rng.choice(SIZES[thing.size]) if thing.size and teller.likely(0.6) else ""
    size = "" if name in ("puppy", "kitten") else size
    after = ""
    if thing.category == "person":
        after, colour = _dress(colour, teller), ""
    elif thing.category == "potted plant" and colour:
        after, colour = f" in {_article(colour)} {colour} pot", ""
    words = " ".join(word for word in (size, colour, name) if word)
    return f"{_article(words)} {words}{after}"


def _dress(colour: str, teller: Teller) -> str:
    shirt = f" in {_article(colour)} {colour} shirt"
    return teller.rng.choice((shirt, f" in {colour}", f" wearing {colour}")) if colour else ""


def _people(group: Group, teller: Teller) -> str:
    """Several people: by their kinds if these are few, or as people."""
    kinds, count = Counter(thing.kind for thing in group.things), len(group.things)
    if len(kinds) == 1 and teller.likely(0.8):
        colour = group.only("colour") if teller.likely(teller.colours) else None
        dress = teller.rng.choice((f" in {colour}", f" in {colour} shirts")) if colour else ""
        return f"{_number(count, teller)} {_name(group.things, teller)[1]}{dress}"
    if len(kinds) == 2 and teller.likely(0.6):
        parts = []
        for kind, number in kinds.items():
            singular, plural = teller.rng.choice(SPECIAL["person", kind][:2])
            parts.append(f"{_article(singular)} {singular}" if number == 1 else f"{NUMBERS[number]} {plural}")
        return " and ".join(parts)
    if set(kinds) == {"boy", "girl"}:
        return f"{_number(count, teller)} {teller.rng.choice(('children', 'kids'))}"
    if count > 2 and teller.likely(0.25):
        return "a group of people"
    return f"{_number(count, teller)} people"


def _name(things: tuple[Thing, ...], teller: Teller) -> Word:
    """A name that fits all of them."""
    first = things[0]
    special = ()
    for value in (first.kind or first.pose, first.size, first.colour):
        fits = all(value in (thing.kind or thing.pose, thing.size, thing.colour) for thing in things)
        special += SPECIAL.get((first.category, value), ()) if fits else ()
    return teller.rng.choice(special if special and teller.likely(0.75) else NAMES[first.category])


def _number(count: int, teller: Teller) -> str:
    if count == 2 and teller.likely(0.15):
        return "a pair of"
    if count > 2 and teller.likely(0.15):
        return "several" if teller.likely(0.5) else "some"
    return NUMBERS[count]


def _adjective(colour: str, teller: Teller) -> str:
    return "gray" if colour == "grey" and teller.likely(0.4) else colour


def _article(words: str) -> str:
    return "an" if words.startswith(tuple("aeiou")) else "a"


def _doing(group: Group, teller: Teller) -> str:
    """What all of the group do, as a participle; "" if they differ or do nothing."""
    pose = group.only("pose")
    return teller.rng.choice(POSES.get((group.category, pose), ("",)))


def _place(group: Group, teller: Teller) -> str:
    """Where the group is in the scene."""
    setting = teller.graph.setting
    afloat = {relation.subject for relation in teller.graph.relations if relation.predicate == "in"}
    if group.things[0].flies:
        return teller.rng.choice(ALOFT[setting])
    if group.category == "boat":
        return teller.rng.choice(AFLOAT[setting])
    if afloat & set(group.places):
        return f"in {'boats' if group.plural else 'a boat'} {teller.rng.choice(AFLOAT[setting])}"
    return teller.rng.choice(ASHORE.get(setting, PLACES[setting]))


def _time(teller: Teller, chance: float) -> str:
    times = TIMES[teller.graph.time]
    return f" {teller.rng.choice(times)}" if times and teller.likely(chance) else ""


# Sentences -------------------------------------------------------------------------------------------


def main_thing(teller: Teller) -> str:
    """What the picture shows first, and where that is."""
    group = teller.groups[0]
    words = [nouns(group, teller)]
    if teller.likely(0.5):
        words.append("are" if group.plural else "is")
    words += [_doing(group, teller), _place(group, teller)]
    return " ".join(word for word in words if word) + _time(teller, 0.35)


def there_is(teller: Teller) -> str:
    """That one or two kinds of thing are there."""
    group, rest = teller.groups[0], teller.groups[1:2]
    verb = "are" if group.plural else "is"
    text = f"there {verb} {nouns(group, teller)}"
    if rest and teller.likely(0.6):
        return f"{text} and {nouns(rest[0], teller)}{_time(teller, 0.2)}"
    return f"{text} {_place(group, teller)}{_time(teller, 0.2)}"


def everything(teller: Teller) -> str:
    """A list of what is there."""
    listed = [nouns(group, teller) for group in teller.rng.sample(teller.groups, len(teller.groups))]
    text = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
    return f"{text} {teller.rng.choice(PLACES[teller.graph.setting])}{_time(teller, 0.25)}"


def scene_with(teller: Teller) -> str:
    """The place first, then what is in it."""
    listed = [nouns(group, teller) for group in teller.groups[: teller.rng.choice((1, 2, 2))]]
    start = teller.rng.choice(("", "", "a picture of ", "a photo of ", "a view of "))
    scene = teller.rng.choice(SCENES[teller.graph.setting])
    return f"{start}{scene}{_time(teller, 0.4)} with {' and '.join(listed)}"


def related(teller: Teller) -> str:
    """How two groups relate."""
    fact = teller.rng.choice(teller.facts)
    phrase, other = teller.rng.choice(fact.phrases), nouns(fact.object, teller)
    text = nouns(fact.subject, teller)
    if "{}" in phrase:
        text += " " + phrase.format(other, "them" if fact.subject.plural else "it")
    else:
        if phrase != "with" and teller.likely(0.35):
            text += " are" if fact.subject.plural else " is"
        doing = _doing(fact.subject, teller)
        if doing and phrase not in ("riding", "holding", "with") and teller.likely(0.5):
            text += f" {doing}"
        text += f" {phrase} {other}"
    place = f" {teller.rng.choice(PLACES[teller.graph.setting])}" if teller.likely(0.35) else ""
    return text + place + _time(teller, 0.15)


def short(teller: Teller) -> str:
    """The main thing and perhaps one more, without the place."""
    group, rest = teller.groups[0], teller.groups[1:]
    doing = _doing(group, teller)
    text = nouns(group, teller) + (f" {doing}" if doing else "")
    if rest:
        link, end = (
            teller.rng.choice(("with", "and")),
            teller.rng.choice(("nearby", "around", "in the picture")),
        )
        return f"{text} {link} {nouns(teller.rng.choice(rest), teller)} {end}"
    return text + _time(teller, 0.8) if teller.graph.time else f"{text} {_place(group, teller)}"


FORMS: tuple[Callable[[Teller], str], ...] = (main_thing, there_is, everything, scene_with, short)


# Five captions ---------------------------------------------------------------------------------------


def captions(graph: Graph, rng: random.Random) -> list[str]:
    """Five captions of a scene, no two the same: they tell different parts of it in different words."""
    groups, said = _groups(graph), []
    facts = tuple(_facts(graph, groups))
    while len(said) < PER_IMAGE:
        form = related if facts and len(said) % 2 == 0 else rng.choice(FORMS)
        teller = Teller(rng, graph, groups, facts, rng.choice((0.1, 0.5, 0.9)))
        text = form(teller)
        if text not in said:
            said.append(text)
    rng.shuffle(said)
    return [_written(text, rng) for text in said]


def _written(text: str, rng: random.Random) -> str:
    """With a capital letter and a full stop, or as people leave them out."""
    if rng.random() < 0.9:
        text = text[0].upper() + text[1:]
    return text + rng.choice((".", ".", ".", ".", "", "", " ."))


def _groups(graph: Graph) -> tuple[Group, ...]:
    """The things by category: those that do something to others first, then the larger ones."""
    active = {relation.subject for relation in graph.relations if relation.predicate in HELD}
    places: dict[str, list[int]] = {}
    for place, thing in enumerate(graph.things):
        places.setdefault(thing.category, []).append(place)
    groups = [Group(name, tuple(graph.things[p] for p in ps), tuple(ps)) for name, ps in places.items()]

    def striking(group: Group) -> tuple[bool, int]:
        return not active & set(group.places), -sum(thing.box[2] * thing.box[3] for thing in group.things)

    return tuple(sorted(groups, key=striking))


def _facts(graph: Graph, groups: tuple[Group, ...]) -> list[Fact]:
    """The relations that hold between whole groups.

    Riders, and what is held by or sits on something, need one partner each; whoever is left of a group
    must be left of all its members.
    """
    known = {(relation.subject, relation.predicate, relation.object) for relation in graph.relations}
    facts = []
    for one in groups:
        for other in groups:
            for predicate, (there, back) in RELATIONS.items():
                pairs = [[(a, predicate, b) in known for b in other.places] for a in one.places]
                if predicate in HELD:
                    holds = all(map(any, pairs)) and all(map(any, zip(*pairs, strict=True)))
                else:
                    holds = all(map(all, pairs))
                if one is not other and holds:
                    sits = predicate == "on" and one.category == "person"  # and nobody says "on top of"
                    facts.append(Fact(one, there[:1] if sits else there, other))
                    if back:
                        facts.append(Fact(other, back, one))
    return facts
