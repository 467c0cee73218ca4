"""Open Clip Art as Debian packs it (`openclipart-svg`, public domain), read where it is installed.

Each SVG file has a title and keywords. Many titles are those of a collection: such files are named by their own names.
Left out: generated stars, icons of desktop themes and others whose names tell nothing, colour gradients, links, and
what is not a plain SVG file of moderate size.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from xml.parsers import expat

import msgspec

from mtlab import files
from mtlab.data.file_digests import content_digest
from mtlab.data.worlds.clips.clip import NamedClip, system_folder
from mtlab.data.worlds.clips.names import clean, concept
from mtlab.errors import UserError

FOLDER = Path("/usr/share/openclipart/svg")
PACKAGE = "openclipart-svg"
VERSION = 1  #: raise it when `_read` finds other titles and keywords in the same files
LARGEST = 300_000  #: bytes of a file: larger ones are maps and portraits, slow to draw
FILES_OF_A_TITLE = 3  #: a title of more files is that of a collection
LEFT_OUT = (
    "shapes/stars/", "shapes/jigsaw/", "shapes/flowchart/", "shapes/callouts/", "special/gradients/",
    "recreation/games/cards/", "computer/icons/flat-theme/", "computer/icons/lemon-theme/",
    "computer/icons/etiquette-theme/",
)  # fmt: skip
#: Files that resvg draws as nothing, or as next to nothing: white, or lines of less than a pixel.
EMPTY = frozenset((
    "animals/birds/duck_yellow_ii_kurt_cagl_", "animals/birds/penguin/tux_didier_fabert_01",
    "animals/mammals/elephant_outline_matthe_r", "computer/icons/documents",
    "electronics/bulb/light_bulb_karl_bartel_01",
    "geography/map_of_finland_jarno_vas_01", "geography/map_of_norway_jarno_vasa_01",
    "geography/map_of_sweden_jarno_vasa_01", "geography/romania_map_contour_alex_01",
    "geography/spain_provinces_sherrera_01", "geography/spain_states_sherrera_01", "office/large_braces.svg_amos_01",
    "recreation/sports/badminton_racket_brice_b_01", "recreation/sports/football_pitch__andy_bur_01",
    "recreation/sports/surfboard_jurgen_01", "signs_and_symbols/font_samples_revdoug_01",
    "signs_and_symbols/mpcad_box_30x20x100_cels_01", "signs_and_symbols/mpcad_box_60x15x60_celso_01",
    "signs_and_symbols/teschio_fabio_olivo_01", "signs_and_symbols/zero_stars_saurabh_nanda_01",
    "special/cd_jacket_template_james_01", "special/patterns/pattern-dots-square-grid-01", "tools/gallows_frouke_01",
    "transportation/shelby_cobra_blueprint_i_01", "transportation/vehicles/shelby_cobra_car_bluepr_",
    "unsorted/generic_ticket_ryan_phil_01", "unsorted/pavement_frouke_01",
))  # fmt: skip
#: Copies under another name, of other files or of Tux Paint's stamps, many of which are Open Clip Art.
COPIES = frozenset((
    "animals/birds/ninja_tux_rory_mccann_01", "animals/birds/ralf_ark.in-berlin.de_ra_01",
    "animals/fish/amibe_renardjb_on_free.f_02", "animals/mammals/contour_kangaroo",
    "animals/ralf_ark.in-berlin.de_ra_01", "buildings/homes/home0", "buildings/homes/lighthouse_matthew_gates_",
    "buildings/homes/pinkhome", "computer/hardware/keyboard_01", "computer/hardware/laptop",
    "computer/hardware/laserprinter", "computer/hardware/mouse",
    "computer/icons/applications/eclipse_josu_alcalde_bas_", "computer/icons/battery_snuatautisticido_02",
    "computer/icons/battery_snuatautisticido_03", "computer/icons/battery_snuatautisticido_04",
    "computer/icons/gnome-mime-vector", "computer/icons/mimetype", "computer/icons/padlock_aj_ashton_01",
    "computer/memory_ddr_magnus_erik_l_", "containers/recycling_box_3d_a.j._as_01", "electronics/compact_disc",
    "food/beverages/glass", "food/breads_and_carbs/bread_01", "food/desserts/birthday_cake",
    "food/desserts/pink_cake_gabrielle_now_r", "food/fruit/green_pear_01", "food/fruit/lemon", "food/fruit/prune",
    "food/fruit/watermelon_james_kilfige_01", "food/pumpkin2_yemu_01", "food/sugarbox_01", "office/calculator",
    "office/telephone/mobile", "people/clothing/hats/hat_-_clothing_nicu_bucu_01",
    "people/clothing/hats/pimp_hat_james_birkett_01", "people/clothing/hats/purple_hat_nicu_buculei_01",
    "people/clothing/hats/sombrero_dave_pena_01", "people/clothing/hats/tophat_benji_park_01",
    "people/clothing/pantyhose/pantyhose_rollandin_f_s", "people/clothing/sunglasses_01", "people/clothing/t-shirt_01",
    "people/clothing/tie_-_clothing_nicu_bucu_01", "people/my_lovely_baby_enrique_m_01",
    "people/woman_chemist_gerald_g._01", "people/woman_doctor_gerald_g._01", "people/woman_nurse_gerald_g._01",
    "people/woman_police_01_gerald_g_01", "plants/mushroom", "plants/shamrock_for_march_natha_01",
    "recreation/holiday/pumpkin2_yemu_01", "recreation/holiday/shamrock_for_march_natha_01",
    "recreation/party/balloon-black-aj", "recreation/sledge_01", "recreation/sports/table_tennis_racquets_o_01r",
    "signs_and_symbols/elder_sign_nurbldoff_01r", "signs_and_symbols/flags/africa/guineabissau",
    "signs_and_symbols/flags/asia/_armenia_ani_ani_01", "signs_and_symbols/flags/europe/france/france_corsica",
    "signs_and_symbols/flags/europe/france/france_haute_normandie",
    "signs_and_symbols/flags/europe/italy/padania_ani_ani_01", "signs_and_symbols/flags/europe/sweden",
    "signs_and_symbols/flags/great_britain_flag_filip_01", "signs_and_symbols/flags/maldives",
    "signs_and_symbols/high_tension_danger_yve_r", "signs_and_symbols/illuminati_ingoenius_",
    "signs_and_symbols/padlock_aj_ashton_01", "signs_and_symbols/security_marking_yves_gu_01",
    "tools/blue_vacuum_cleaner_jaim_01", "tools/leafrake_benji_park_01", "tools/lock_-_open_afief_halumi_01",
    "tools/stefan_graubner_stefan_g_01", "tools/weapons/bullet_hole_linda_kim_s",
    "tools/weapons/kallisti-grenade_2_nurbl_01", "tools/weapons/longsword_01",
    "transportation/boating/boat_jarno_vasamaa1", "transportation/formula_one_car_gerald_g_01",
    "transportation/roadsigns/chaussee_glissante_arago_01", "transportation/vehicles/1989_chevrolet_celebrit_02",
    "transportation/vehicles/rocket", "transportation/vehicles/vtt_02", "unsorted/Montacarichi",
    "unsorted/duplicates/box_with_spring_nicu_buc_01", "unsorted/duplicates/frying_pan_padella_in_i_01",
    "unsorted/spaventapasseri",
))  # fmt: skip
#: Folders of what looks alike → the family that its concept is, of those in `ALIKE`; "" for none. The first that fits.
FAMILIES = {
    "people/clothing/": "", "people/": "people", "signs_and_symbols/flags/": "flags", "signs_and_symbols/": "signs",
    "shapes/": "signs", "computer/icons/": "signs", "computer/buttons/": "signs", "computer/folders/": "signs",
    "geography/": "signs", "transportation/roadsigns/": "signs",
}  # fmt: skip
#: Titles and keywords that tell nothing of what is shown; "HASH(0x85c8ce4)" comes of a mistake in a program.
IDLE = re.compile(r"hash(\(0x.*)?|0x.*|unsorted|menu|signs? and symbols?|clip ?art|special|.?")
TITLE = re.compile(r"<dc:title[^>]*>(.*?)</dc:title>", re.DOTALL)
KEYWORD = re.compile(r"<rdf:li[^>]*>(.*?)</rdf:li>", re.DOTALL)
#: A reference to another file or address, in an image or a style; links to the licence are none.
ELSEWHERE = re.compile(
    r"""<image[^>]*href\s*=\s*["'](?!data:|\#)|url\(\s*["']?(?!\#|data:)|<\?xml-stylesheet""", re.DOTALL
)


class _Titled(msgspec.Struct):
    path: str
    title: str
    keywords: list[str]


def list_openclipart() -> Sequence[NamedClip]:
    """List the clip art in the order of paths, with a name and, if there are keywords beside it, one that adds them.

    Raises:
        UserError: the Debian package is not installed.

    """
    return _list(system_folder(FOLDER, PACKAGE))


@lru_cache(maxsize=1)
def _list(folder: Path) -> tuple[NamedClip, ...]:
    found = _index(folder)
    files_of = Counter(it.title for it in found)
    clips, stems = [], set()
    for it in found:
        path = it.path.removesuffix(".svg")
        stem = path.rpartition("/")[2]
        known = stem in stems  # the same file in another folder
        stems.add(stem)
        if known or path in EMPTY | COPIES:
            continue
        own = files_of[it.title] <= FILES_OF_A_TITLE and not IDLE.fullmatch(it.title.lower())
        name = clean(it.title if own else stem)
        family = next((family for start, family in FAMILIES.items() if it.path.startswith(start)), "")
        keywords = (word.replace("_", " ").lower() for word in it.keywords)
        words = dict.fromkeys(word for word in keywords if word not in name and not IDLE.fullmatch(word))
        names = (name, f"{name}, {', '.join(words)}") if words else (name,)
        if len(name) > 2:
            clips.append(NamedClip(f"openclipart/{path}", folder, it.path, names, family or concept(name)))
    return tuple(clips)


def _index(folder: Path) -> list[_Titled]:
    """Read titles and keywords of all files, once: they are kept in the cache folder by the files' contents."""
    paths = list(_files(folder))
    index = files.cache_root() / "facts" / f"openclipart-{VERSION}-{content_digest(folder, paths)}.json"
    try:
        return msgspec.json.decode(index.read_bytes(), type=list[_Titled])
    except (OSError, msgspec.MsgspecError):  # not there yet, or damaged
        found = [titled for path in paths if (titled := _read(folder, path)) is not None]
        with suppress(UserError):  # a cache that cannot be written costs time, not the answer
            files.write_json(index, [msgspec.to_builtins(it) for it in found])
        return found


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.svg")):
        relative = path.relative_to(folder).as_posix()
        plain = path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST
        if plain and not relative.startswith(LEFT_OUT):
            yield relative


def _read(folder: Path, path: str) -> _Titled | None:
    """Read a file's title and keywords; None if it is broken, or refers to others."""
    content = (folder / path).read_bytes()
    try:
        expat.ParserCreate().Parse(content, True)  # knows and refuses entities that grow without end
    except expat.ExpatError:
        return None
    text = content.decode("utf-8", errors="replace")
    if ELSEWHERE.search(text):
        return None
    title = TITLE.search(text)
    return _Titled(path, _plain(title[1]) if title else "", [_plain(word) for word in KEYWORD.findall(text)])


def _plain(text: str) -> str:
    """Resolve entities, twice as some files have them, and spaces."""
    return " ".join(html.unescape(html.unescape(text)).split())
