"""Session ids: a League of Legends champion, a dash and a role, such as `fizz-top`. Pure."""

from __future__ import annotations

import random
import re
from collections.abc import Collection

ROLES = ("top", "jg", "mid", "adc", "sup")
CHAMPIONS = tuple(
    """
    aatrox ahri akali akshan alistar ambessa amumu anivia annie aphelios ashe aurelion-sol aurora azir bard
    belveth blitzcrank brand braum briar caitlyn camille cassiopeia chogath corki darius diana dr-mundo draven
    ekko elise evelynn ezreal fiddlesticks fiora fizz galio gangplank garen gnar gragas graves gwen hecarim
    heimerdinger hwei illaoi irelia ivern janna jarvan jax jayce jhin jinx kaisa kalista karma karthus kassadin
    katarina kayle kayn kennen khazix kindred kled kogmaw ksante leblanc lee-sin leona lillia lissandra lucian
    lulu lux malphite malzahar maokai master-yi mel milio miss-fortune mordekaiser morgana naafiri nami nasus
    nautilus neeko nidalee nilah nocturne nunu olaf orianna ornn pantheon poppy pyke qiyana quinn rakan rammus
    reksai rell renata renekton rengar riven rumble ryze samira sejuani senna seraphine sett shaco shen shyvana
    singed sion sivir skarner smolder sona soraka swain sylas syndra tahm-kench taliyah talon taric teemo thresh
    tristana trundle tryndamere twisted-fate twitch udyr urgot varus vayne veigar velkoz vex vi viego viktor
    vladimir volibear warwick wukong xayah xerath xin-zhao yasuo yone yorick yunara yuumi zac zed zeri ziggs
    zilean zoe zyra
    """.split()
)
_VALID = r"[a-z0-9-]+"


def is_valid(session_id: str) -> bool:
    """Return whether a requested id is valid: lower-case letters, digits and dashes."""
    return re.fullmatch(_VALID, session_id) is not None


def allocate(taken: Collection[str], rng: random.Random) -> str:
    """Return a random id that is not in `taken`; once all (more than 800) are, with a number: `fizz-top-2`."""
    names = [f"{champion}-{role}" for champion in CHAMPIONS for role in ROLES]
    round_number = 1
    while True:
        suffix = "" if round_number == 1 else f"-{round_number}"
        free = [name + suffix for name in names if name + suffix not in taken]
        if free:
            return rng.choice(free)
        round_number += 1
