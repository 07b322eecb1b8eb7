"""Checks the labelled texts with checksums written by others: python-stdnum, phonenumbers, ipaddress, and Presidio's for Bitcoin.

Reads the NDJSON of generate.py from standard input; exits with 1 when a label or an innocent text is not what it claims to be.
"""

import base64
import collections
import ipaddress
import json
import re
import sys
import zlib

import phonenumbers
from presidio_analyzer.predefined_recognizers import CryptoRecognizer
from stdnum import iban, luhn, mac
from stdnum.es import dni, nie
from stdnum.gb import nhs
from stdnum.it import codicefiscale, iva
from stdnum.pl import pesel
from stdnum.us import itin, ssn


def compact(value):
    return re.sub(r"[\s-]", "", value)


def is_phone(value):
    regions = [None] if value.startswith("+") else ["US", "GB", "DE", "FR", "IN", "CA", "BR"]
    for region in regions:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(value, region)):
                return True
        except phonenumbers.NumberParseException:
            pass
    return False


def is_address(value):
    return ipaddress.ip_address(value) is not None


def is_crypto(value):
    if value.startswith("0x"):
        return re.fullmatch("0x[0-9a-fA-F]{40}", value) is not None
    return bool(CryptoRecognizer().validate_result(value))


def is_jwt(value):
    header = value.split(".")[0]
    return "alg" in json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))) and value.count(".") == 2


def is_dea(value):
    digits = [int(c) for c in value[2:]]
    return (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


def is_private_key(value):
    lines = value.replace("\\n", "\n").split("\n")
    return (
        lines[0].endswith("PRIVATE KEY-----")
        and lines[-1] == lines[0].replace("BEGIN", "END")
        and bool(base64.b64decode("".join(lines[1:-1]), validate=True))
    )


def is_credential(value):
    if re.match("gh[po]_|npm_", value):
        alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        number = 0
        for c in value[-6:]:
            number = number * 62 + alphabet.index(c)
        return number == zlib.crc32(value[4:-6].encode())
    return len(value) >= 20 and not re.search(r"\s", value)


CHECKS = {
    "email": lambda v: re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", v),
    "phone": is_phone,
    "card": lambda v: luhn.is_valid(compact(v)),
    "iban": lambda v: iban.is_valid(v, check_country=False),
    "us-ssn": lambda v: ssn.is_valid(compact(v)),
    # python-stdnum lacks the groups 50 to 65, which the IRS added later.
    "us-itin": lambda v: itin.is_valid(compact(v)) or re.fullmatch(r"9\d\d-(5\d|6[0-5])-\d{4}", v),
    "us-passport": lambda v: re.fullmatch(r"[A-Z0-9]\d{8}", v),
    "us-bank-number": lambda v: re.fullmatch(r"\d{8,17}", v),
    "us-driver-license": lambda v: re.fullmatch(r"[A-Za-z0-9* -]{5,22}", v),
    "uk-nhs": lambda v: nhs.is_valid(compact(v)),
    "es-nif": lambda v: dni.is_valid(compact(v)),
    "es-nie": lambda v: nie.is_valid(compact(v)),
    "it-fiscal-code": codicefiscale.is_valid,
    "it-vat-code": iva.is_valid,
    "it-driver-license": lambda v: re.fullmatch(r"[A-Z]{2}\d{7}[A-Z]|U1[B-Z0-9]{7}[A-Z]", v),
    "it-passport": lambda v: re.fullmatch(r"[A-Z]{2}\d{7}", v),
    "it-identity-card": lambda v: re.fullmatch(r"[A-Z]{2}\d{5}[A-Z]{2}|[A-Z]{2}\d{7}", v),
    "pl-pesel": pesel.is_valid,
    "medical-license": is_dea,
    "ip-address": is_address,
    "mac-address": lambda v: mac.is_valid(v, validate_manufacturer=False) or re.fullmatch(r"([0-9a-f]{4}\.){2}[0-9a-f]{4}", v),
    "date-of-birth": lambda v: re.search(r"(19|20)\d\d", v),
    "passport": lambda v: re.fullmatch(r"[A-Z0-9]{8,9}", v),
    "crypto-address": is_crypto,
    "jwt": is_jwt,
    "private-key": is_private_key,
    "credential": is_credential,
}
# What must not stand in an innocent text: forms that prove themselves. Numbers without proof are innocent by what the text says they are.
PROVEN = {
    "email": lambda t: re.findall(r"[\w.+-]+@[\w-]+\.[A-Za-z]{2,}", t),
    "iban": lambda t: [m for m in re.findall(r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b", t) if iban.is_valid(m, check_country=False)],
    "us-ssn": lambda t: re.findall(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", t),
    "ip-address": lambda t: [m for m in re.findall(r"(?<![\w.])\d+\.\d+\.\d+\.\d+(?![\w.])", t) if all(int(n) < 256 for n in m.split("."))],
    "es-nif": lambda t: [m for m in re.findall(r"\b\d{8}[A-Z]\b", t) if dni.is_valid(m)],
    "crypto-address": lambda t: (
        re.findall(r"\b0x[0-9a-fA-F]{40}\b", t) + [m for m in re.findall(r"\b(?:bc1|[13])[a-zA-Z0-9]{25,59}\b", t) if is_crypto(m)]
    ),
    "private-key": lambda t: re.findall("PRIVATE KEY", t),
    "jwt": lambda t: re.findall(r"eyJ[\w-]+\.eyJ[\w-]+\.", t),
}


def main():
    wrong, counted, innocent = [], collections.Counter(), 0
    for line in sys.stdin:
        row = json.loads(line)
        for span in row["spans"]:
            value = row["text"][span["start"] : span["end"]]
            check = CHECKS.get(span["entity"])
            if check is None:
                continue
            counted[span["entity"]] += 1
            # The values of presidio-evaluator's own generators are theirs: people's telephone numbers there are of no plan in particular.
            if not check(value) and not (row["kind"] == "sentence" and span["entity"] in ("phone", "date-of-birth")):
                wrong.append((row["id"], span["entity"], value))
        if row["kind"] in ("innocent", "grid-innocent"):
            innocent += 1
            wrong += [(row["id"], f"innocent text holds {entity}", hits) for entity, find in PROVEN.items() if (hits := find(row["text"]))]
            if row["spans"]:
                wrong.append((row["id"], "innocent text is labelled", row["spans"]))
    for item in wrong[:50]:
        print(*item, sep="\t")
    print(f"{sum(counted.values())} labels of {len(counted)} entities and {innocent} innocent texts checked, {len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
