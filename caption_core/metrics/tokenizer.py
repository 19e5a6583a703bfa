"""PTB-style tokenization, equal to that of coco-caption's `PTBTokenizer`, in Python alone.

coco-caption pipes all captions through Stanford CoreNLP 3.4.1 (`-preserveLines -lowerCase`) and drops punctuation
marks. The grammar below reproduces what that program does, written from its observable behaviour:

- contractions are split (`can't` -> `ca n't`, `dog's` -> `dog 's`, `cannot` -> `can not`);
- words with hyphens, slashes or inner periods stay whole (`t-shirt`, `his/her`, `plate.A`);
- abbreviations keep their period (`St.`, `T.V.`), other words lose it;
- `. , ; : ? !` (a single one), quotes, dashes and ellipses are dropped; brackets stay, as `-lrb-`, `-rrb-` ..., because
  coco-caption compares the lower-cased names with an upper-cased list, and so do runs like `!!`;
- other symbols (`&`, `%`, `$`) are tokens; emoji and whatever lies outside the Basic Multilingual Plane vanish;
- text of any script is kept: a run of letters is one token, so Chinese or Thai without spaces is one token a run.

Two things differ on purpose. A caption is tokenized by itself, whereas a line of coco-caption's can read into the next
one (a last word like `U.` loses its period there if the next caption in the file starts with `A` or `The`). And
tokens that hold a non-breaking space (`1 1/2`) are two words for every metric, as they are there for all but ROUGE-L.
"""

from __future__ import annotations

import re

# Characters: letters, marks and hyphen-like letters make words; numerals such as a superscript two don't.
_NUMERALS = (
    r"\u00b2\u00b3\u00b9\u00bc-\u00be\u09f4-\u09f9\u0bf0-\u0bf2\u0f2a-\u0f33\u2070\u2074-\u2079\u2080-\u2089"
    r"\u2150-\u218b\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\u3021-\u3029\u3192-\u3195\u3220-\u3229\u3280-\u3289"
)
_MARKS = (
    r"\u02c2-\u02df\u02e5-\u036f\u0483-\u0487\u0559-\u055f\u058a\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    r"\u0615-\u061a\u064b-\u065e\u06d6-\u06ed\u06fd\u06fe\u070f\u0730-\u074a\u07a6-\u07b0\u07eb-\u07f3"
    r"\u0900-\u0903\u093c-\u0955\u0962\u0963\u0981-\u0983\u09bc-\u09e3\u0a01-\u0a03\u0a3c-\u0a4d\u0a81-\u0a83"
    r"\u0abc-\u0acd\u0b82\u0bbe-\u0bd7\u0c01-\u0c03\u0c3e-\u0c56\u0d3e-\u0d48\u0e31-\u0e3a\u0e47-\u0e4e"
    r"\u0eb1-\u0ebc\u0ec8-\u0ecd\u2010\u2011"
)
_SYMBOLS = re.compile(
    r"[!-~\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u037e\u0387\u0589\u05be\u05c0\u05c3"
    r"\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060c\u0614\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d\u07f6-\u07f8"
    r"\u0964\u0965\u0e3f\u0e4f\u1fbd\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070"
    r"\u2074-\u207e\u2080-\u208e\u20a4\u2100-\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f"
    r"\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6]"
)
_REWRITTEN = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "\u00a2": "cents",
    "\u00a3": "#",
    "\u20a0": "$",
    "\u20ac": "$",
    "\u00bc": "1/4",
    "\u00bd": "1/2",
    "\u00be": "3/4",
    "\u2153": "1/3",
    "\u2154": "2/3",
}
_DROPPED = frozenset(
    [
        *("''", "'", "``", "`", '"', ".", "?", "!", ",", ":", "-", "--", "---", "----", "...", ";"),
        *("&quot;", "&apos;", "&nbsp;", "&mdash;", "&ndash;"),
        *"\u2026\u2013\u2014\u2015\u2018\u2019\u201b\u201c\u201d\u2039\u203a\u00ab\u00bb",
    ]
)
_WINDOWS_1252 = dict(zip(range(0x91, 0x98), "\u2018\u2019\u201c\u201d\u2022\u2013\u2014", strict=True)) | {0x80: "$"}
_REPLACED = _WINDOWS_1252 | {0xAD: None}  # mis-decoded quotes are read as quotes; soft hyphens vanish inside words

_L = rf"(?:[^\W\d_{_NUMERALS}]|[{_MARKS}])"  # a letter, a mark
_A = rf"(?:[^\W_{_NUMERALS}]|[{_MARKS}])"  # a letter, a mark or a digit
_Q = "(?:['\u2019]|&apos;)"  # an apostrophe
_QQ = "['\u2018\u2019\u201b`]"  # an apostrophe, or a quote that was typed for one
_ENDING = "(?:(?:'|&apos;)(?:s|m|d|re|ve|ll)(?![A-Za-z])|\u2019(?:s|m|d|re|ve|ll))"

_ABBREVIATIONS = (
    "adj|adm|adv|al|ala|alex|apr|ariz|assn|assoc|asst|atty|aug|ave|bhd|bldg|blvd|brig|bros|calif|capt|cf|cie|cmdr|co|"
    "col|colo|conn|corp|cos|cpl|ct|dak|dec|dept|det|dr|drs|elec|ens|esq|est|etc|ext|feb|fla|fri|ft|ga|gen|gov|govs|"
    "hon|inc|ind|insp|intl|invt|jan|jos|jr|jul|jun|kan|kans|ky|lt|ltd|maj|mar|md|mfg|mich|minn|mlle|mme|mo|mon|mont|"
    "mr|mrs|ms|msgr|mt|mtg|natl|neb|nev|nov|oct|okla|penn|pfc|ph|plc|ppte|ppty|pres|prof|profs|pte|ptes|pty|ptys|pvt|"
    "rd|rep|reps|rev|rt|sen|sens|sep|sept|seq|sfc|sgt|spc|sq|sr|st|ste|supt|sys|tel|tenn|thu|treas|tue|tues|univ|va|"
    "vs|vt|wed|wis|wisc|wm|wyo"
)
_CAPITALIZED = "Ark|Az|Comdr|Del|Ill|La|Lieut|Mass|Miss|Ore|Pa|Tex|Thurs|Wash"  # abbreviations only as names
_NUMBERED = "art|ca|fig|figs|no|nos|op|pp|prop"  # abbreviations only before a number
_STARTERS = (  # words that end the sentence before them
    "A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Mr\\.|Ms\\.|"
    "Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)
_CONTRACTED = (
    rf"c{_Q}mon|c{_Q}est|e{_Q}er|s{_Q}mores|nor{_Q}easter|cap{_Q}n|d{_Q}ye|li{_Q}l|ev{_Q}ry|nat{_Q}l|cont{_Q}d\.|"
    rf"dunkin{_Q}|somethin{_Q}|ol{_Q}|[ldj]{_Q}|{_Q}em|{_Q}til|{_Q}cause"
)

# Group 1 of a rule is the token. The longest match wins, what a rule looks ahead at included (groups 2 and up are
# matched only for their length); of equally long ones the first.
_RULES = tuple(
    re.compile(rule)
    for rule in (
        # contractions
        rf"(?i:(?:(can)not|(gon|wan)na|(got)ta|(lem|gim)me)(?!{_A}))",
        r"(?i:('t)(is|was)\b)",
        rf"(?i:({_L}*?[^\W\d_n])n{_QQ}t)",
        rf"(?i:({_A}+){_ENDING})",
        rf"(?i:(n{_QQ}t(?!{_L})|{_ENDING}))",
        rf"(?i:(y{_Q}){_L})",
        # words
        rf"({_A}+)",
        rf"((?:[doDOlL]{_QQ}{_A})?{_A}+(?:[-_](?:[doDOlL]{_QQ}{_A})?{_A}+)*)",
        r"([A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:[A-Za-z0-9]+|[A-Za-z](?:\.[A-Za-z])+\.))+)",
        r"([A-Za-z0-9]+(?:-[A-Za-z]+)*(?:/[A-Za-z0-9]+(?:-[A-Za-z]+)*)+)",
        r"(\d+(?:/\d+)+(?:-[A-Za-z]+)+|\d+-\d+/\d+)",
        r"([A-Z]+(?:(?:&|&amp;)[A-Z]+)+)",
        r"([Cc]\+\+|[CcFf]#)",
        # words with apostrophes
        rf"({_QQ}[nN]{_QQ}|'[nN](?!{_A})|\u2019[nN])",
        rf"((?:[A-HJ-XZn]|[dlDLoO]){_QQ}{_L}{{2,}})",
        rf"({_L}+[aeiouyAEIOUY]{_QQ}[aeiouA-Z]{_L}*)",
        rf"([dloDLO]{_Q}[0-9]{_A}+)",
        rf"((?i:{_CONTRACTED}))",
        rf"({_Q}[2-9]0s|{_Q}\d\d(?=\s|$))",
        # periods
        rf"({_L}(?:\.{_L})+\.?)",
        rf"({_L})\.\s+(?:{_STARTERS}|{_STARTERS.upper()})(?=\s|$)",
        r"([A-Za-z]\.)",
        rf"((?i:{_ABBREVIATIONS}|ph\.d)\.|(?:{_CAPITALIZED}|{_CAPITALIZED.upper()})\.)",
        rf"((?i:{_NUMBERED})\.)\s*\d",
        rf"({_A}+\.)[,;:]",
        rf"({_L}{_A}*(?:[.!?]{_L}{_A}*)+)",
        # numbers
        r"([-+]?\d*(?:[.,:]\d+)+|[-+]?\d+)",
        r"((?:\d{1,4}\s)?\d{1,4}/\d{1,4}|\(\d{3}\)\s?\d{3}-\d{4}|\d{3}[-\s]\d{3}[-\s]\d{4})",
        r"([A-Z]+\$)",
        # the web
        r"((?i:https?://)[^\s\"<>|(){}]+[^\s\"<>|.!?(){},-])",
        r"((?:www\.(?:[^\s\"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}|(?:[^\W_]+\.)+(?:com|net|org|edu))/[^\s\"<>|()]+[^\s\"<>|.!?(){},-])",
        r"(<?[A-Za-z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+>?)",
        r"(@[A-Za-z_]\w*|#[A-Za-z]+)",
        r"(</?[A-Za-z!?][\w:.-]*(?:\s[^<>]*|/|--)?>|<!--[^>]*-->)",
        r"(&(?:amp|lt|gt|quot|apos|nbsp|mdash|ndash|#\d+|[aeiouAEIOU](?:acute|grave|uml));)",
        # smileys and runs of marks
        rf"([<>]?[:;=][-o*']?[()@\[\]{{|\\dDOpP](?!{_A})|[:=][38](?!{_A})|[-^~<>=']_[-^~<>='])",
        r"(\.\.\.|-{2,4}(?!-)|-{5,}|''|``|[!?]+|__+|\*\*+|##+|@@+|<<|>>|\\\*)",
    )
)
# Where a word is read differently for what follows it after a space; all else is tokenized word by word.
_NEEDS_CONTEXT = re.compile(r"(?<![^\W_])[^\W\d_]\.\s+[A-Z]|\.\s+\d|\d\s+\d|\)\s+\d|<[^\s>][^>]*\s")
_STRAIGHTENED = re.compile(rf"^(n?)({_QQ})(t|s|m|d|re|ve|ll)$", re.IGNORECASE)
_BEYOND = re.compile("[\U00010000-\U0010ffff]")

_CACHE_LIMIT = 1 << 17
_cache: dict[str, tuple[str, ...]] = {}


def tokenize(caption: str) -> list[str]:
    """The tokens of a caption, lower-cased, without punctuation: none for an empty caption or one of marks alone.

    Deterministic, and safe to call from many threads. The tokens of each distinct word are remembered (at most 2^17
    words), so most captions cost a few microseconds.
    """
    if _NEEDS_CONTEXT.search(caption):
        return _scan(caption)
    tokens: list[str] = []
    for word in caption.split():
        known = _cache.get(word)
        tokens += _remember(word) if known is None else known
    return tokens


def _remember(word: str) -> tuple[str, ...]:
    if len(_cache) >= _CACHE_LIMIT:
        _cache.clear()
    tokens = _cache[word] = tuple(_scan(word))
    return tokens


def _scan(text: str) -> list[str]:
    """Cut `text` into the longest match at each place, and clean the tokens."""
    if not text.isascii():
        text = _BEYOND.sub(" ", text.translate(_REPLACED))
    tokens: list[str] = []
    position = 0
    while position < len(text):
        token = _longest(text, position)
        position += len(token)
        tokens += _clean(token)
    return tokens


def _longest(text: str, position: int) -> str:
    best, reach = text[position], position
    for rule in _RULES:
        match = rule.match(text, position)
        if match and match.end() > reach:
            reach = match.end()
            best = next(group for group in match.groups() if group)
    return best


def _clean(token: str) -> list[str]:
    if token in _DROPPED or token.isspace():
        return []
    if token in _REWRITTEN:
        return [_REWRITTEN[token]]
    if len(token) == 1 and not (re.match(_A, token) or _SYMBOLS.match(token)):
        return []
    if token[0] == "(" or token[-1] in "()[]{}":
        token = "".join(_REWRITTEN.get(mark, mark) for mark in token)
    return _STRAIGHTENED.sub(_straighten, token).lower().split()


def _straighten(contraction: re.Match[str]) -> str:
    """Contractions are written with an ASCII apostrophe, or a back-quote where an opening quote was typed for one."""
    start, mark, end = contraction.groups()
    return start + ("'" if mark in "'\u2019" else "`") + end
