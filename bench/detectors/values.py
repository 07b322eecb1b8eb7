"""Values to put into the labelled texts: each well-formed, with right check digits, and nobody's.

`VALUES` names every generator and the entity it is labelled with; None means the value is not sensitive and must not be found.
"""

import base64
import datetime
import hashlib
import json
import random
import string
import uuid
import zlib

import phonenumbers

DIGITS = string.digits
UPPER = string.ascii_uppercase
LOWER = string.ascii_lowercase
ALNUM = DIGITS + UPPER + LOWER
HEX = "0123456789abcdef"
URL64 = ALNUM + "-_"

# No clock: the data must be the same on every day it is made.
EARLIEST = datetime.datetime(2019, 1, 1)
LATEST = datetime.datetime(2026, 6, 30)


def run(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(length))


# --- people's addresses and numbers ---

NAMES = [
    ("anna", "kowalska"),
    ("john", "meyer"),
    ("lucia", "garcia"),
    ("marco", "bianchi"),
    ("wei", "chen"),
    ("fatima", "haddad"),
    ("oliver", "smith"),
    ("sofie", "jensen"),
    ("piotr", "nowak"),
    ("emily", "o-brien"),
    ("raj", "patel"),
    ("hans", "schmidt"),
]
MAIL_HOSTS = [
    "gmail.com",
    "outlook.com",
    "web.de",
    "yahoo.co.uk",
    "mail.example.org",
    "acme-corp.io",
    "libero.it",
    "correo.es",
    "wp.pl",
    "students.uni-koeln.de",
    "proton.me",
    "xn--bcher-kva.de",
    "sub.dept.example.com",
    "icloud.com",
    "company.technology",
]


def email(rng):
    first, last = rng.choice(NAMES)
    number = rng.randint(1, 1999)
    local = rng.choice(
        [
            f"{first}.{last}",
            f"{first}{number}",
            f"{first[0]}{last}",
            f"{first}_{last}{number}",
            f"{last}+news{number}",
            f"{first}.{last}+{number}",
            f"{first[0]}.{last}",
        ]
    )
    address = f"{local}@{rng.choice(MAIL_HOSTS)}"
    return address.upper() if rng.random() < 0.05 else address


# The regions whose national formats Presidio's phone recognizer reads by default.
NATIONAL_REGIONS = ["US", "US", "US", "GB", "DE", "FR", "IN", "CA", "BR"]
OTHER_REGIONS = ["ES", "IT", "PL", "NL", "SE", "JP", "AU", "MX", "CH", "ZA"]
E164 = phonenumbers.PhoneNumberFormat.E164
INTERNATIONAL = phonenumbers.PhoneNumberFormat.INTERNATIONAL
NATIONAL = phonenumbers.PhoneNumberFormat.NATIONAL


def phone_of(rng, region):
    """A number valid in the region's numbering plan, as libphonenumber has it."""
    kind = rng.choice([phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
    example = phonenumbers.example_number_for_type(region, kind)
    digits = str(example.national_number)
    while True:
        drawn = digits[:3] + run(rng, DIGITS, len(digits) - 3)
        number = phonenumbers.PhoneNumber(
            country_code=example.country_code, national_number=int(drawn), italian_leading_zero=example.italian_leading_zero
        )
        if phonenumbers.is_valid_number(number):
            return number


def phone_national(rng):
    region = rng.choice(NATIONAL_REGIONS)
    number = phone_of(rng, region)
    if region in ("US", "CA"):
        d = str(number.national_number)
        return rng.choice([f"({d[:3]}) {d[3:6]}-{d[6:]}", f"{d[:3]}-{d[3:6]}-{d[6:]}", f"{d[:3]}.{d[3:6]}.{d[6:]}"])
    return phonenumbers.format_number(number, NATIONAL)


def phone_intl(rng):
    number = phone_of(rng, rng.choice(NATIONAL_REGIONS + OTHER_REGIONS))
    return phonenumbers.format_number(number, rng.choice([E164, INTERNATIONAL, INTERNATIONAL]))


def phone(rng):
    return phone_national(rng) if rng.random() < 0.5 else phone_intl(rng)


def phone_local(region):
    return lambda rng: phonenumbers.format_number(phone_of(rng, region), rng.choice([E164, INTERNATIONAL, INTERNATIONAL, NATIONAL]))


def phone_abroad(region):
    return lambda rng: phonenumbers.format_number(phone_of(rng, region), rng.choice([E164, INTERNATIONAL]))


# --- money ---


def luhn_digit(payload: str) -> str:
    """ISO/IEC 7812-1 annex B."""
    total = 0
    for place, digit in enumerate(reversed(payload)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


# Issuer prefix and length by scheme.
CARDS = [
    ("4", 16),
    ("4", 16),
    ("4", 16),
    ("51", 16),
    ("53", 16),
    ("55", 16),
    ("2221", 16),
    ("2704", 16),
    ("34", 15),
    ("37", 15),
    ("6011", 16),
    ("65", 16),
    ("36", 14),
    ("3530", 16),
    ("62", 16),
]


def card_digits(rng):
    prefix, length = rng.choice(CARDS)
    payload = prefix + run(rng, DIGITS, length - len(prefix) - 1)
    return payload + luhn_digit(payload)


def card(rng):
    number = card_digits(rng)
    separator = rng.choice(["", "", " ", "-"])
    cuts = [4, 10] if len(number) in (14, 15) else [4, 8, 12]
    return separator.join(number[a:b] for a, b in zip([0, *cuts], [*cuts, None]))


# Country, and its account number as letters (A), digits (9) or both (X): the IBAN registry of SWIFT.
IBANS = [
    ("DE", "9" * 18),
    ("GB", "AAAA" + "9" * 14),
    ("FR", "9" * 10 + "X" * 11 + "99"),
    ("ES", "9" * 20),
    ("IT", "A" + "9" * 10 + "X" * 12),
    ("PL", "9" * 24),
    ("NL", "AAAA" + "9" * 10),
    ("CH", "9" * 5 + "X" * 12),
    ("AT", "9" * 16),
    ("BE", "9" * 12),
    ("SE", "9" * 20),
    ("NO", "9" * 11),
    ("PT", "9" * 21),
    ("IE", "AAAA" + "9" * 14),
    ("DK", "9" * 14),
]


def iban_compact(rng):
    country, form = rng.choice(IBANS)
    account = "".join(rng.choice({"A": UPPER, "9": DIGITS, "X": DIGITS + UPPER}[c]) for c in form)
    as_number = "".join(str(int(c, 36)) for c in account + country + "00")
    return f"{country}{98 - int(as_number) % 97:02}{account}"


def iban(rng):
    number = iban_compact(rng)
    return number if rng.random() < 0.5 else " ".join(number[i : i + 4] for i in range(0, len(number), 4))


def us_bank(rng):
    return rng.choice("123456789") + run(rng, DIGITS, rng.choice([8, 9, 10, 11, 12]) - 1)


BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def base58check(version: int, payload: bytes) -> str:
    body = bytes([version]) + payload
    body += hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4]
    number, text = int.from_bytes(body, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return "1" * (len(body) - len(body.lstrip(b"\0"))) + text


def bech32_address(witness_version: int, program: bytes) -> str:
    """BIP 173 for version 0, BIP 350 for the versions above."""
    bits = "".join(f"{byte:08b}" for byte in program)
    bits += "0" * (-len(bits) % 5)
    data = [witness_version] + [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    expanded = [3, 3, 0, 2, 3] + data + [0] * 6
    check = 1
    for value in expanded:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    check ^= 1 if witness_version == 0 else 0x2BC830A3
    return "bc1" + "".join(BECH32[v] for v in data + [check >> 5 * (5 - i) & 31 for i in range(6)])


def bitcoin(rng):
    draw = rng.randrange(4)
    if draw < 2:
        return base58check((0, 5)[draw], rng.randbytes(20))
    return bech32_address(0, rng.randbytes(20)) if draw == 2 else bech32_address(1, rng.randbytes(32))


def rotate(word: int, by: int) -> int:
    by %= 64
    return (word << by | word >> (64 - by)) & 0xFFFFFFFFFFFFFFFF if by else word


def keccak256(message: bytes) -> bytes:
    """Keccak with its first padding, which Ethereum kept; hashlib has only the later standard."""
    lanes = [[0] * 5 for _ in range(5)]
    padded = bytearray(message + b"\1" + b"\0" * (135 - len(message) % 136))
    padded[-1] |= 0x80
    for start in range(0, len(padded), 136):
        for i in range(17):
            lanes[i % 5][i // 5] ^= int.from_bytes(padded[start + 8 * i : start + 8 * i + 8], "little")
        lfsr = 1
        for _ in range(24):
            parity = [lanes[x][0] ^ lanes[x][1] ^ lanes[x][2] ^ lanes[x][3] ^ lanes[x][4] for x in range(5)]
            mixed = [parity[(x + 4) % 5] ^ rotate(parity[(x + 1) % 5], 1) for x in range(5)]
            lanes = [[lanes[x][y] ^ mixed[x] for y in range(5)] for x in range(5)]
            x, y, current = 1, 0, lanes[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                current, lanes[x][y] = lanes[x][y], rotate(current, (t + 1) * (t + 2) // 2)
            for y in range(5):
                row = [lanes[x][y] for x in range(5)]
                for x in range(5):
                    lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
            for j in range(7):
                lfsr = (lfsr << 1 ^ (lfsr >> 7) * 0x71) % 256
                if lfsr & 2:
                    lanes[0][0] ^= 1 << ((1 << j) - 1)
    return b"".join(lanes[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


def ethereum(rng):
    """With the mixed-case checksum of EIP-55."""
    digits = rng.randbytes(20).hex()
    mask = keccak256(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(digits, mask))


# --- identity ---


def ssn_parts(rng):
    area = rng.choice([n for n in (rng.randint(1, 899) for _ in range(20)) if n != 666])
    return f"{area:03}", f"{rng.randint(1, 99):02}", f"{rng.randint(1, 9999):04}"


def ssn(rng):
    return rng.choice(["-", "-", "-", " "]).join(ssn_parts(rng))


def ssn_bare(rng):
    return "".join(ssn_parts(rng))


# Middle groups the IRS gives to ITINs: 50 to 65, 70 to 88, 90 to 92 and 94 to 99.
ITIN_GROUPS = [*range(50, 66), *range(70, 89), 90, 91, 92, *range(94, 100)]


def itin(rng):
    return f"9{rng.randint(0, 99):02}-{rng.choice(ITIN_GROUPS)}-{rng.randint(1, 9999):04}"


def us_passport(rng):
    return rng.choice(DIGITS + "AXYZ") + run(rng, DIGITS, 8)


def us_licence(rng):
    """California, Florida, Illinois, New Jersey, Ohio, Texas, New York."""
    letters, digits = rng.choice([(1, 7), (1, 12), (1, 11), (1, 14), (2, 6), (0, 8), (0, 9)])
    return run(rng, UPPER, letters) + run(rng, DIGITS, digits)


def nhs(rng):
    """Modulus 11, weights 10 to 2 (NHS Data Dictionary)."""
    while True:
        payload = rng.choice("4679") + run(rng, DIGITS, 8)
        check = 11 - sum(int(d) * (10 - i) for i, d in enumerate(payload)) % 11
        if check != 10:
            number = payload + str(check % 11)
            return rng.choice([number, f"{number[:3]} {number[3:6]} {number[6:]}", f"{number[:3]}-{number[3:6]}-{number[6:]}"])


NIF_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def nif(rng):
    number = rng.randint(1_000_000, 99_999_999)
    return f"{number:08}{rng.choice(['', '', '-'])}{NIF_LETTERS[number % 23]}"


def nie(rng):
    first, number = rng.randint(0, 2), rng.randint(0, 9_999_999)
    dash = rng.choice(["", "", "-"])
    return f"{'XYZ'[first]}{dash}{number:07}{dash}{NIF_LETTERS[(first * 10_000_000 + number) % 23]}"


# Values of characters at odd places of an Italian fiscal code (decree of 12 March 1974).
FISCAL_ODD = dict(
    zip(
        DIGITS + UPPER,
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21] + [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23],
    )
)
CONSONANTS = "BCDFGLMNPRSTVZ"


def fiscal_code(rng):
    day = rng.randint(1, 28) + rng.choice([0, 40])
    body = (
        run(rng, CONSONANTS, 6)
        + f"{rng.randint(40, 99)}{rng.choice('ABCDEHLMPRST')}{day:02}"
        + rng.choice("ABCDEFGHIL")
        + f"{rng.randint(1, 999):03}"
    )
    total = sum(FISCAL_ODD[c] if place % 2 == 0 else int(c, 36) - (10 if c.isalpha() else 0) for place, c in enumerate(body))
    return body + UPPER[total % 26]


def it_vat(rng):
    payload = f"{rng.randint(1, 9_999_999):07}{rng.randint(1, 95):03}"
    return payload + luhn_digit(payload)


def it_licence(rng):
    return (
        run(rng, UPPER, 2) + run(rng, DIGITS, 7) + rng.choice(UPPER)
        if rng.random() < 0.5
        else "U1" + run(rng, "BCDFGHLJKMNPRSTUWYXZ0123456789", 7) + rng.choice(UPPER)
    )


def it_passport(rng):
    return rng.choice(["YA", "YB", "AA"]) + run(rng, DIGITS, 7)


def it_identity_card(rng):
    return "CA" + run(rng, DIGITS, 5) + run(rng, UPPER, 2) if rng.random() < 0.6 else "A" + rng.choice(UPPER) + run(rng, DIGITS, 7)


def pesel(rng):
    year = rng.randint(1940, 2015)
    month = rng.randint(1, 12) + (20 if year >= 2000 else 0)
    payload = f"{year % 100:02}{month:02}{rng.randint(1, 28):02}" + run(rng, DIGITS, 4)
    check = sum(int(d) * w for d, w in zip(payload, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)))
    return payload + str(-check % 10)


def dea(rng):
    """Number of a prescriber registered with the United States DEA (21 CFR 1301; check digit as practised)."""
    digits = run(rng, DIGITS, 6)
    odd, even = sum(int(d) for d in digits[::2]), sum(int(d) for d in digits[1::2])
    return rng.choice("ABFGM") + rng.choice(UPPER) + digits + str((odd + 2 * even) % 10)


def passport_uk(rng):
    return run(rng, UPPER, 2) + run(rng, DIGITS, 7)


def passport_de(rng):
    """The ninth character is drawn as a check digit of the eight before it (ICAO 9303 part 3), as Presidio requires; the number itself has none."""
    serial = rng.choice("CFGHJK") + run(rng, "CFGHJKLMNPRTVWXYZ0123456789", 7)
    return serial + str(sum(int(c, 36) * (7, 3, 1)[i % 3] for i, c in enumerate(serial)) % 10)


def passport_es(rng):
    return run(rng, UPPER, 3) + run(rng, DIGITS, 6)


def passport_in(rng):
    return rng.choice("JKLMNPRSTUVZ") + rng.choice("123456789") + run(rng, DIGITS, 5) + rng.choice("123456789")


def birthday(rng):
    return datetime.date(1935, 1, 1) + datetime.timedelta(days=rng.randint(0, 26_000))


MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]


def dob_us(rng):
    day = birthday(rng)
    return rng.choice([f"{day:%m/%d/%Y}", f"{day.month}/{day.day}/{day.year}", f"{MONTHS[day.month - 1]} {day.day}, {day.year}"])


def dob_eu(rng):
    day = birthday(rng)
    return rng.choice([f"{day:%d/%m/%Y}", f"{day:%d.%m.%Y}", f"{day:%d-%m-%Y}"])


def dob_long(rng):
    day = birthday(rng)
    return rng.choice([f"{day.day} {MONTHS[day.month - 1]} {day.year}", f"{day.day} {MONTHS[day.month - 1][:3]} {day.year}"])


# --- machines ---


def ipv4(rng):
    return rng.choice(
        [
            lambda: f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
            lambda: f"192.168.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
            lambda: f"{rng.randint(11, 223)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
        ]
    )()


def ipv6(rng):
    groups = ["2001", "db8"] + [f"{rng.randint(0, 0xFFFF):x}" for _ in range(6)]
    if rng.random() < 0.6:
        keep = rng.randint(1, 3)
        return ":".join(groups[: 2 + keep]) + "::" + ":".join(groups[7:])
    return ":".join(groups)


def ip(rng):
    return ipv4(rng) if rng.random() < 0.7 else ipv6(rng)


def mac(rng):
    octets = bytes([rng.randrange(0, 256, 2)]).hex() + rng.randbytes(5).hex()  # even: an interface's own address, no group
    if rng.random() < 0.2:
        return ".".join(octets[i : i + 4] for i in (0, 4, 8))
    text = rng.choice([":", ":", "-"]).join(octets[i : i + 2] for i in range(0, 12, 2))
    return text.upper() if rng.random() < 0.5 else text


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(rng):
    header = {"alg": rng.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
    if rng.random() < 0.4:
        header["kid"] = run(rng, HEX, 16)
    claims = {"sub": run(rng, DIGITS, 10), "iss": "https://login.example.com/", "iat": rng.randint(1_600_000_000, 1_780_000_000)}
    signature = rng.randbytes(256 if header["alg"] == "RS256" else 64 if header["alg"] == "ES256" else 32)
    return ".".join(
        url64(part) for part in (json.dumps(header, separators=(",", ":")).encode(), json.dumps(claims, separators=(",", ":")).encode(), signature)
    )


def pem(rng, label, size, start=b"\x30\x82"):
    body = base64.b64encode(start + size.to_bytes(2, "big") + rng.randbytes(size)).decode()
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"


def private_key(rng):
    label, size = rng.choice(
        [("RSA PRIVATE KEY", 1190), ("PRIVATE KEY", 1218), ("EC PRIVATE KEY", 118), ("OPENSSH PRIVATE KEY", 400), ("ENCRYPTED PRIVATE KEY", 1300)]
    )
    return pem(rng, label, size, b"openssh-key-v1\0" if label.startswith("OPENSSH") else b"\x30\x82")


def private_key_escaped(rng):
    return private_key(rng).replace("\n", "\\n")


# --- credentials: forms the providers document ---


def base62(number: int, width: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number, 62)
        text = ALNUM[rest] + text
    return text.rjust(width, "0")


def checked_token(prefix):
    """GitHub's and npm's tokens end in the CRC-32 of their random part, in base 62."""

    def make(rng):
        body = run(rng, ALNUM, 30)
        return prefix + body + base62(zlib.crc32(body.encode()), 6)

    return make


def shaped(*pieces):
    return lambda rng: "".join(piece if isinstance(piece, str) else run(rng, *piece) for piece in pieces)


CREDENTIALS = {
    "github": checked_token("ghp_"),
    "github_oauth": checked_token("gho_"),
    "github_fine": shaped("github_pat_", (ALNUM, 22), "_", (ALNUM, 59)),
    "npm": checked_token("npm_"),
    "aws_id": shaped("AKIA", (UPPER + "234567", 16)),
    "aws_secret": shaped((ALNUM + "+/", 40)),
    "stripe": shaped("sk_live_51", (ALNUM, 97)),
    "stripe_short": shaped("rk_live_", (ALNUM, 24)),
    "slack_bot": shaped("xoxb-", ("123456789", 1), (DIGITS, 11), "-", ("123456789", 1), (DIGITS, 12), "-", (ALNUM, 24)),
    "slack_hook": shaped("https://hooks.slack.com/services/T", (UPPER + DIGITS, 10), "/B", (UPPER + DIGITS, 10), "/", (ALNUM, 24)),
    "google_key": shaped("AIza", (URL64, 34), (ALNUM, 1)),
    "google_secret": shaped("GOCSPX-", (URL64, 27), (ALNUM, 1)),
    "gitlab": shaped("glpat-", (URL64, 19), (ALNUM, 1)),
    "sendgrid": shaped("SG.", (URL64, 22), ".", (URL64, 42), (ALNUM, 1)),
    "twilio": shaped("SK", (HEX, 32)),
    "openai": shaped("sk-proj-", (URL64, 74), "T3BlbkFJ", (URL64, 73), (ALNUM, 1)),
    "anthropic": shaped("sk-ant-api03-", (URL64, 93), "AA"),
    "digitalocean": shaped("dop_v1_", (HEX, 64)),
    "hugging_face": shaped("hf_", (UPPER + LOWER, 34)),
    "shopify": shaped("shpat_", (HEX, 32)),
    "databricks": shaped("dapi", (HEX, 32)),
    "pypi": shaped("pypi-AgEIcHlwaS5vcmc", (URL64, 155), (ALNUM, 1)),
    "telegram": shaped(("123456789", 1), (DIGITS, 9), ":AA", (URL64, 32), (ALNUM, 1)),
    "azure_storage": lambda rng: base64.b64encode(rng.randbytes(64)).decode(),
    "new_relic": shaped("NRAK-", (UPPER + DIGITS, 27)),
    "linear": shaped("lin_api_", (ALNUM, 40)),
    "postman": shaped("PMAK-", (HEX, 24), "-", (HEX, 34)),
    "doppler": shaped("dp.pt.", (ALNUM, 43)),
}


# --- what is not sensitive, and looks as if it were ---


def moment(rng):
    return EARLIEST + datetime.timedelta(seconds=rng.randint(0, int((LATEST - EARLIEST).total_seconds())))


def order_number(rng):
    """Sixteen digits of which one in ten passes the Luhn check, as among numbers drawn blindly."""
    payload = run(rng, "123456789", 1) + run(rng, DIGITS, 14)
    right = int(luhn_digit(payload))
    return payload + str(right if rng.random() < 0.1 else (right + rng.randint(1, 9)) % 10)


def isbn13(rng):
    payload = "978" + run(rng, DIGITS, 9)
    check = -sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(payload)) % 10
    return rng.choice([f"{payload}{check}", f"978-{payload[3]}-{payload[4:8]}-{payload[8:12]}-{check}"])


def isbn10(rng):
    payload = run(rng, DIGITS, 9)
    check = sum(int(d) * (i + 1) for i, d in enumerate(payload)) % 11
    return payload + ("X" if check == 10 else str(check))


def json_cursor(rng):
    return base64.b64encode(json.dumps({"id": rng.randint(1, 10**9), "dir": "next"}).encode()).decode()


def certificate(rng):
    return pem(rng, "CERTIFICATE", 900)


def public_key(rng):
    return pem(rng, "PUBLIC KEY", 294)


PLAIN = {
    "uuid": lambda rng: str(uuid.UUID(bytes=rng.randbytes(16), version=4)),
    "sha1": shaped((HEX, 40)),
    "sha256": shaped((HEX, 64)),
    "md5": shaped((HEX, 32)),
    "short_sha": lambda rng: rng.choice("abcdef") + run(rng, HEX, 7),
    "iso": lambda rng: moment(rng).isoformat() + rng.choice(["Z", "+02:00", f".{rng.randint(0, 999):03}Z"]),
    "sql_time": lambda rng: f"{moment(rng):%Y-%m-%d %H:%M:%S}.{rng.randint(0, 999999):06}+00",
    "clf_time": lambda rng: f"{moment(rng):%d/%b/%Y:%H:%M:%S} +0000",
    "day": lambda rng: f"{moment(rng):%Y-%m-%d}",
    "day_us": lambda rng: f"{moment(rng):%m/%d/%Y}",
    "day_eu": lambda rng: f"{moment(rng):%d.%m.%Y}",
    "epoch": lambda rng: str(int((moment(rng) - datetime.datetime(1970, 1, 1)).total_seconds())),
    "epoch_ms": lambda rng: str(int((moment(rng) - datetime.datetime(1970, 1, 1)).total_seconds()) * 1000 + rng.randint(0, 999)),
    "order": order_number,
    "id9": lambda rng: rng.choice("123456789") + run(rng, DIGITS, 8),
    "id8": lambda rng: rng.choice("123456789") + run(rng, DIGITS, 7),
    "id11": lambda rng: rng.choice("123456789") + run(rng, DIGITS, 10),
    "small": lambda rng: str(rng.randint(1, 99999)),
    "semver": lambda rng: f"{rng.randint(0, 12)}.{rng.randint(0, 30)}.{rng.randint(0, 40)}{rng.choice(['', '', '-rc.1', '+build.7', '-beta.2'])}",
    "version4": lambda rng: f"v{rng.randint(1, 20)}.{rng.randint(0, 30)}.{rng.randint(300, 9999)}.{rng.randint(0, 900)}",
    "isbn13": isbn13,
    "isbn10": isbn10,
    "float": lambda rng: f"{rng.uniform(-1000, 1000):.{rng.randint(2, 15)}f}",
    "exponent": lambda rng: f"{rng.uniform(1, 9.99):.12f}e-{rng.randint(1, 30)}",
    "money": lambda rng: f"{rng.randint(0, 99999)}.{rng.randint(0, 99):02}",
    "colour": lambda rng: "#" + run(rng, HEX, 6),
    "blob": lambda rng: base64.b64encode(rng.randbytes(rng.randint(24, 200))).decode(),
    "bytea": lambda rng: "\\x" + rng.randbytes(rng.randint(8, 64)).hex(),
    "cursor": json_cursor,
    "certificate": certificate,
    "public_key": public_key,
    "ulid": lambda rng: "01" + run(rng, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
    "sku": lambda rng: f"{run(rng, UPPER, 3)}-{run(rng, DIGITS, 4)}-{rng.choice(UPPER)}",
    "parcel": lambda rng: "1Z" + run(rng, DIGITS + UPPER, 6) + run(rng, DIGITS, 10),
    "port": lambda rng: str(rng.randint(1024, 65535)),
    "coordinate": lambda rng: f"{rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}",
    "hex_address": lambda rng: "0x" + run(rng, HEX, 16),
    "duration": lambda rng: f"{rng.randint(0, 99)}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}",
    "package": lambda rng: (
        f"{rng.choice(['lodash', '@types/node', 'left-pad', 'react-dom', 'serde_json'])}@{rng.randint(0, 19)}.{rng.randint(0, 40)}.{rng.randint(0, 30)}"
    ),
    "lsn": lambda rng: f"{rng.randint(0, 255):X}/{rng.randint(0, 2**32 - 1):08X}",
    "word": lambda rng: rng.choice(["pending", "shipped", "closed", "trial", "north", "retry", "blue", "archived"]),
}

# Name of a value in the templates: its maker, and the entity it is labelled with.
VALUES = {
    "email": (email, "email"),
    "phone": (phone, "phone"),
    "phone_intl": (phone_intl, "phone"),
    "phone_us": (phone_local("US"), "phone"),
    "phone_uk": (phone_local("GB"), "phone"),
    "phone_de": (phone_local("DE"), "phone"),
    "phone_fr": (phone_local("FR"), "phone"),
    "phone_es": (phone_abroad("ES"), "phone"),
    "phone_it": (phone_abroad("IT"), "phone"),
    "phone_pl": (phone_abroad("PL"), "phone"),
    "card": (card, "card"),
    "iban": (iban, "iban"),
    "ssn": (ssn, "us-ssn"),
    "ssn_bare": (ssn_bare, "us-ssn"),
    "itin": (itin, "us-itin"),
    "us_passport": (us_passport, "us-passport"),
    "us_licence": (us_licence, "us-driver-license"),
    "us_bank": (us_bank, "us-bank-number"),
    "nhs": (nhs, "uk-nhs"),
    "nif": (nif, "es-nif"),
    "nie": (nie, "es-nie"),
    "fiscal_code": (fiscal_code, "it-fiscal-code"),
    "it_licence": (it_licence, "it-driver-license"),
    "it_vat": (it_vat, "it-vat-code"),
    "it_passport": (it_passport, "it-passport"),
    "it_card": (it_identity_card, "it-identity-card"),
    "pesel": (pesel, "pl-pesel"),
    "dea": (dea, "medical-license"),
    "ip": (ip, "ip-address"),
    "ipv4": (ipv4, "ip-address"),
    "ipv6": (ipv6, "ip-address"),
    "mac": (mac, "mac-address"),
    "dob": (lambda rng: birthday(rng).isoformat(), "date-of-birth"),
    "dob_us": (dob_us, "date-of-birth"),
    "dob_eu": (dob_eu, "date-of-birth"),
    "dob_long": (dob_long, "date-of-birth"),
    "passport_uk": (passport_uk, "passport"),
    "passport_de": (passport_de, "passport"),
    "passport_es": (passport_es, "passport"),
    "passport_in": (passport_in, "passport"),
    "bitcoin": (bitcoin, "crypto-address"),
    "ethereum": (ethereum, "crypto-address"),
    "jwt": (jwt, "jwt"),
    "key": (private_key, "private-key"),
    "key_escaped": (private_key_escaped, "private-key"),
    **{f"cred_{name}": (make, "credential") for name, make in CREDENTIALS.items()},
    **{name: (make, None) for name, make in PLAIN.items()},
}

# Values of an entity Presidio knows, in a form its documentation does not claim: left out of the comparison, counted in ours alone.
UNCLAIMED_BY_PRESIDIO = {"ethereum"}
