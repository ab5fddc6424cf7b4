"""Sentences about a scene, in varied words, that name only what its facts confirm."""

from __future__ import annotations

from collections import Counter

from .facts import Facts, Seen
from .plan import Random

_NUMBERS = {2: "two", 3: "three", 4: "four"}
_HOURS = {
    "dawn": ("at dawn", "at daybreak", "in the early morning", "at first light"),
    "noon": ("at noon", "at midday", "in broad daylight", "in the daytime"),
    "dusk": ("at dusk", "in the evening", "at nightfall", "at the end of the day"),
    "night": ("at night", "in the night", "by night", "late at night"),
}
WEATHER_PHRASES = {
    "clear": ("under a clear sky", "in clear weather"),
    "cloudy": ("under scattered clouds", "with clouds in the sky", "under a cloudy sky"),
    "overcast": ("under an overcast sky", "on an overcast day", "under a grey blanket of cloud"),
    "rain": ("in the rain", "on a rainy day", "under rain clouds"),
    "snowfall": ("in falling snow", "while snow falls", "in a snowfall"),
    "fog": ("in the fog", "in thick fog", "on a foggy day"),
}
AT_NIGHT = {
    "overcast": ("under an overcast sky", "under a blanket of cloud"),
    "rain": ("in the rain", "under rain clouds"),
    "fog": ("in the fog", "in thick fog"),
}


class Caption:
    """A sentence being written; it picks phrases and notes the classes that they name."""

    def __init__(self, facts: Facts, chance: Random) -> None:
        self.facts, self.chance = facts, chance
        self.named: dict[str, int] = {}

    def write(self) -> str:
        """Return the sentence."""
        say = self.chance.pick
        when, weather = self._when(), self._weather()
        scene, front, above = self._scene(), self._front(), self._above()
        parts = [part for part in (front, above) if part]
        if len(parts) == 2 and self.chance.happens(0.35):
            parts.reverse()
        style = say(("scene first", "front first", "hour first"), (0.5, 0.25, 0.25))
        if style == "front first" and front:
            sentence = f"{front}, {scene} {when}"
            rest = [above, weather]
            if " behind" not in scene and self.facts.plan.water:
                sentence = f"{front} by {scene} {when}"
        elif style == "hour first":
            sentence = f"{when}, {scene}"
            rest = [*parts, weather]
        elif self.chance.happens(0.5):
            sentence, rest = f"{scene} {when} {weather}".rstrip(), parts
        else:
            sentence, rest = f"{scene} {when}", [*parts, weather]
        return ", ".join([sentence, *(part for part in rest if part)])

    def _name(self, kind: str, count: int = 0) -> None:
        self.named[kind] = count

    def _when(self) -> str:
        when = self.chance.pick(_HOURS[self.facts.plan.hour])
        season = self._season()
        return f"{when} in {season}" if season and " in " not in f" {when} " else when

    def _season(self) -> str:
        """Return the season if the picture shows it and chance decides to name it, otherwise ""."""
        facts, season = self.facts, self.facts.plan.season
        colors = {thing.color for thing in facts.of("tree")}
        visible = {
            "spring": "pink" in colors or facts.shows("flowers"),
            "summer": facts.shows("grass", 0.08) and "green" in colors,
            "autumn": bool(colors & {"orange", "red", "golden"}) or facts.shows("grass", 0.08),
            "winter": facts.shows("snow", 0.03),
        }[season]
        return season if visible and self.chance.happens(0.45) else ""

    def _weather(self) -> str:
        phrase = self._weather_phrase()
        if "cloud" in phrase or "overcast" in phrase:
            self._name("cloud")
        return phrase

    def _weather_phrase(self) -> str:
        plan = self.facts.plan
        if plan.hour == "night" and plan.weather in AT_NIGHT:
            return self.chance.pick(AT_NIGHT[plan.weather])
        if plan.weather == "clear":
            if self.facts.shows("cloud", 0.02):
                return ""
            if plan.stars:
                return self.chance.pick(("under the stars", "under a starry sky"))
        if plan.weather == "cloudy" and not self.facts.shows("cloud", 0.01):
            return ""
        if plan.weather == "overcast" and plan.hour == "dusk":
            return "under an overcast sky"
        return self.chance.pick(WEATHER_PHRASES[plan.weather])

    def _mountains(self) -> str:
        """Return the phrase for the mountains, or "" if none are visible."""
        facts, say = self.facts, self.chance.pick
        rock, white = facts.areas.get("mountain", 0.0), facts.areas.get("snowcap", 0.0)
        if rock + white < 0.008:
            return ""
        if white > 0.25 * (rock + white) and facts.shows("snowcap"):
            self._name("snowcap")
            return say(
                (
                    "snowy mountains",
                    "a snowy mountain range",
                    "snow-capped peaks",
                    "snow-covered mountains",
                )
            )
        if not facts.shows("mountain"):
            return ""
        self._name("mountain")
        return say(("mountains", "a mountain range", "rocky mountains", "bare peaks"))

    def _back(self) -> str:
        facts, say = self.facts, self.chance.pick
        parts = [self._mountains()]
        if facts.shows("forest", 0.008):
            self._name("forest")
            parts.append(say(("a forest", "dark woods", "a line of trees", "woods")))
        elif facts.shows("hill", 0.02):
            self._name("hill")
            parts.append(say(("hills", "rolling hills", "gentle hills")))
        return " and ".join(part for part in parts if part)

    def _scene(self) -> str:
        facts, say = self.facts, self.chance.pick
        back = self._back()
        water = facts.plan.water
        if water and facts.shows(water, 0.01):
            self._name(water)
            place = say(
                ("a lake", "a calm lake", "a lake")
                if water == "lake"
                else ("the sea", "the open sea", "a seashore")
            )
            if place == "a calm lake" and facts.plan.weather in ("rain", "overcast", "snowfall"):
                place = "a lake"
            if facts.shows("beach", 0.01) and self.chance.happens(0.6):
                self._name("beach")
                place = say(("a sandy beach by the sea", "the sea and a beach", "a beach"))
                if place == "a beach":
                    del self.named[water]
        else:
            place = self._field()
        if not back:
            return place
        return say(
            (f"{back} behind {place}", f"{place} with {back} behind", f"{place} in front of {back}")
        )

    def _field(self) -> str:
        facts, say = self.facts, self.chance.pick
        if facts.shows("snow", 0.02):
            self._name("snow")
            return say(("a snowy field", "a snow-covered land", "snowy ground", "deep snow"))
        if not facts.shows("grass", 0.02):
            return say(("a landscape", "open country"))
        self._name("grass")
        if facts.plan.season == "autumn":
            return say(("a meadow", "a grassy field", "an autumn meadow"))
        return say(("a green meadow", "a meadow", "a grassy field"))

    def _group(self, things: list[Seen], one: str, many: str, color: str = "") -> str:
        """Return a phrase such as 'a red house on the left', 'two conifers', 'several trees'."""
        count = len(things)
        tint = f"{color} " if color else ""
        if count == 1:
            phrase = f"{'an' if (tint + one)[0] in 'aeiou' else 'a'} {tint}{one}"
            if self.chance.happens(0.4):
                side = things[0].side
                phrase += {
                    "left": " on the left",
                    "right": " on the right",
                    "centre": " in the middle",
                }[side]
            return phrase
        number = _NUMBERS.get(count, "several" if count > 4 else str(count))
        return f"{number} {tint}{many}"

    def _houses(self) -> str:
        houses = self.facts.of("house")
        if not houses:
            return ""
        self._name("house", len(houses))
        colors = Counter(house.color for house in houses)
        if not self._true_colors():
            return self._group(houses, "house", "houses")
        if len(colors) == 1:
            return self._group(houses, "house", "houses", houses[0].color)
        if len(houses) == 2:
            first, second = houses
            return f"a {first.color} house and a {second.color} one"
        return self._group(houses, "house", "houses")

    def _true_colors(self) -> bool:
        """Return True if the light leaves colors unchanged: not at dusk, at night or in fog."""
        plan = self.facts.plan
        return plan.hour in ("dawn", "noon") and plan.weather != "fog"

    def _trees(self) -> str:
        facts = self.facts
        conifers, trees = facts.of("conifer"), facts.of("tree")
        parts = []
        if conifers:
            self._name("conifer", len(conifers))
            one, many = self.chance.pick(("conifer conifers", "fir firs", "spruce spruces")).split()
            snowy = facts.plan.season == "winter" and self.chance.happens(0.4)
            parts.append(self._group(conifers, one, many, "snowy" if snowy else ""))
        if trees:
            self._name("tree", len(trees))
            colors = {tree.color for tree in trees}
            color = ""
            if colors == {"bare"}:
                color = "bare"
            elif len(colors) == 1 and self._true_colors():
                color = next(iter(colors))
                color = self.chance.pick(("blossoming", "pink")) if color == "pink" else color
            elif colors <= {"orange", "red", "golden"}:
                color = "autumn"
            parts.append(self._group(trees, "tree", "trees", color))
        return " and ".join(parts)

    def _front(self) -> str:
        facts, say = self.facts, self.chance.pick
        houses, trees = self._houses(), self._trees()
        parts: list[str] = []
        if houses and trees and self._neighbors():
            parts.append(f"{houses} {say(('beside', 'next to', 'near'))} {trees}")
        else:
            parts += [part for part in (houses, trees) if part]
        boats = facts.of("boat")
        if boats:
            self._name("boat", len(boats))
            parts.append(self._group(boats, *say(("boat boats", "sailboat sailboats")).split()))
        rest = []
        if facts.plan.flowers and facts.shows("flowers"):
            color = f"{facts.plan.flowers} " if self._true_colors() else ""
            rest.append(("flowers", f"{color}flowers {say(('in the grass', 'in bloom'))}"))
        if facts.shows("path", 0.006):
            rest.append(
                (
                    "path",
                    say(("a path", "a winding path", "a dirt road"))
                    if facts.plan.season != "winter"
                    else "a path through the snow",
                )
            )
        rocks = facts.of("rock")
        if rocks:
            rest.append(
                ("rock", self._group(rocks, *say(("rock rocks", "boulder boulders")).split()))
            )
        for kind, phrase in rest:
            if len(parts) < 3 and self.chance.happens(0.8):
                self._name(kind, len(rocks) if kind == "rock" else 0)
                parts.append(phrase)
        if len(parts) < 2:
            return "".join(parts)
        return f"{', '.join(parts[:-1])} and {parts[-1]}"

    def _neighbors(self) -> bool:
        """Return True if every house has a tree close by."""
        trees = self.facts.of("conifer") + self.facts.of("tree")
        return all(
            any(abs(house.x - tree.x) < 0.3 for tree in trees) for house in self.facts.of("house")
        )

    def _above(self) -> str:
        facts, say, plan = self.facts, self.chance.pick, self.facts.plan
        parts = []
        if facts.shows("sun"):
            self._name("sun")
            if plan.hour == "noon":
                parts.append(say(("the sun high above", "a bright sun", "the sun in the sky")))
            else:
                low = ("the sun low in the sky", "a low sun", "the sun above the horizon")
                sun = plan.sun
                if sun is not None and sun.y + sun.radius > plan.horizon - 0.05:
                    low = (*low[:2], "the sun on the horizon")
                parts.append(say(low))
        if plan.moon and facts.shows("moon"):
            self._name("moon")
            phase = {
                "full": ("a full moon", "the moon", "a round moon"),
                "half": ("a half moon", "the moon"),
                "crescent": ("a crescent moon", "the moon", "a thin moon"),
            }[plan.moon.phase]
            parts.append(f"{say(phase)}{say((' above', ' in the sky', ''))}")
        if plan.aurora and facts.shows("aurora", 0.01):
            self._name("aurora")
            parts.append(say(("northern lights", "a green aurora", "an aurora in the sky")))
        if facts.shows("rainbow", 0.004):
            self._name("rainbow")
            parts.append(say(("a rainbow", "a rainbow in the sky")))
        birds = facts.of("bird")
        if birds:
            self._name("bird", len(birds))
            parts.append(
                "a bird in flight" if len(birds) == 1 else say(("birds in the sky", "birds flying"))
            )
        return " and ".join(parts)


def caption_of(facts: Facts, seeds: tuple[int, ...]) -> tuple[str, dict[str, int]]:
    """Return a caption, and the classes it names with their number (0 if it gives none)."""
    writer = Caption(facts, Random((*seeds, 1)))
    return writer.write(), writer.named
