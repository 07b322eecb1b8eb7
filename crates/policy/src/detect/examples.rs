//! Examples of every entity for the tests. What is to be found stands between `«` and `»`, which are taken out. All numbers are made up.

use super::Entity;

/// Texts of one entity. `{L}` stands for a line of base64.
pub(super) struct Examples {
    pub(super) entity: Entity,
    /// The name of the column they stand in.
    pub(super) hint: &'static str,
    /// Each has one finding, the marked one.
    pub(super) found: &'static [&'static str],
    /// None of these has a finding of the entity.
    pub(super) other: &'static [&'static str],
}

const LINE: &str = "b3BlbnNzaGtleXYxAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gt";

/// The text without marks, and where the marked part is.
pub(super) fn unmark(text: &str) -> (String, Option<(usize, usize)>) {
    let text = text.replace("{L}", LINE);
    let Some((before, rest)) = text.split_once('«') else { return (text, None) };
    let (marked, after) = rest.split_once('»').unwrap();
    (format!("{before}{marked}{after}"), Some((before.len(), before.len() + marked.len())))
}

#[rustfmt::skip]
pub(super) const EXAMPLES: &[Examples] = &[
    Examples {
        entity: Entity::Email,
        hint: "",
        found: &[
            "«jane.doe@example.com»", "write to «jane+tag@mail.example.co.uk».", "<«o'brien@example.org»>", "mailto:«a@b.io»?subject=x",
            "(«x_y-z@sub.example.museum»)", "to: «\"john doe\"@example.com»", "«用户@例子.广告»", "«müller@straße.de»",
            "{\"email\":\"«jane@example.com»\"}", "a;«b@example.net»;c", "log\\n«jane@example.com»\\n", "«jane@xn--bcher-kva.example»",
            "“«jane@example.com»”", "to=«jane@example.com»&x=1", "«postmaster@[192.0.2.1]»", "\\u003c«jane@example.com»\\u003e",
            "\x1b[33m«jane@example.com»\x1b[0m", "«1234567890@example.com»", "..«jane@example.com»..",
        ],
        other: &[
            "git@github.com:owner/repository.git", "icon@2x.png", "npm install lodash@4.17.21", "react@18.2.0-rc.next", "@mention in a chat",
            "user@localhost", "https://user@example.com/path", "postgres://app:secret@db.example.com/shop", "a @ b.com", "@@@@example.com",
            "com.example.Thing@1a2b3c4d", "ssh://git@host.example.com/x", "name@example.c", "name@-example", "mail at example dot com", "x@.com",
            "x.@example.com",
        ],
    },
    Examples {
        entity: Entity::Phone,
        hint: "",
        found: &[
            "call «+1-555-234-5678»", "«+1 (555) 234-5678»", "«(555) 234-5678»", "«555-234-5678»", "«555.234.5678x123»", "«001-555-234-5678x1234»",
            "«+44 20 7946 0958»", "«+44(0)20 7946 0958»", "«(020) 7946 0958»", "«020 7946 0958»", "«+49 (0) 171 1234567»", "«0171/1234567»",
            "«+33 1 23 45 67 89»", "«01 23 45 67 89»", "«+34 612 345 678»", "«612 34 56 78»", "«+39 06 12345678»", "«+48 123 456 789»",
            "tel. «123 456 789»", "«22 123 45 67»", "«0412 345 678»", "«(02) 9999 9999»", "«+91 98765 43210»", "«(11) 91234-5678»",
            "«090-1234-5678»", "«02-9999-999»", "«044 668 18 00»", "phone: «5552345678»", "«+15552345678»", "{\"phone\":\"«5552345678»\"}",
            "Tel.: «030 123456»", "call me at «5552345678 ext. 12»", "«(03) 123 4567»", "<phone>«5552345678»</phone>", "«1-555-234-5678»",
            "«+420 123 456 789»", "wa.me/«+447911123456»", "«+972-2-123-4567»", "mobile=«07911123456»", "«555-234-5678»-Office",
        ],
        other: &[
            "5552345678", "order 1234567890", "2024-01-01 12:34:56", "1700000000000", "550e8400-e29b-41d4-a716-446655440000", "12345.6789012",
            "978-3-16-148410-0", "2024-03-11", "11.03.2024", "0.5552345678", "git 3f2a9c1b7d", "1,234,567,890", "192.168.10.20", "id=5552345678",
            "+1234567", "123 456 789", "diff +12345", "00:11:22:33:44:55", "v1.2.3.4567890", "4111 1111 1111 1111", "/orders/5552345678", "Boston, MA 02110-1301, USA", "0645 0645 0649", "0032 0030 0247", "31 80 02 03 01 00 01 02 03 01 00",
            "1234-5678", "2024/01/02 2024/03/04", "100 200 300",
        ],
    },
    Examples {
        entity: Entity::Card,
        hint: "",
        found: &[
            "«4111111111111111»", "«4111 1111 1111 1111»", "«4111-1111-1111-1111»", "«378282246310005»", "«3782 822463 10005»",
            "«5555555555554444»", "«2221562418057889»", "«6011635139693714»", "«30256341685875»", "«3056 930902 5904»", "«3528492433721178»",
            "«180013500049577»", "«6209281590139624»", "«2200595711777741»", "«6521748477718341»", "«5085654610735871»", "«630455706360»",
            "«675904544091031776»", "«4499962283038836852»", "card «639098754281»", "my card «3550616225199612»",
            "cc: «4111111111111111», exp 12/30", "{\"pan\":\"«4111111111111111»\"}", "\"«4111\u{a0}1111\u{a0}1111\u{a0}1111»\"", "«4241586834497»", "«4111 1111 1111 1111» 2031 123", "no 1234 «4111 1111 1111 1111»",
            "4111 1111 1111 1112, «4111 1111 1111 1111»",
        ],
        other: &[
            "4111111111111112", "4111 1111 1111 1112", "1234567812345670", "0000000000000000", "4111111111111111a", "x4111111111111111",
            "4111-1111-1111-1111-1111-1111", "411111111111111111111111", "1700000000000", "978316148410", "4006381333931", "4111.1111.1111.1111",
            "45111111-1111-1111-1111-111111111111", "35 20 99 00 17 61 48 1", "0.4111111111111111", "552E 4111 1111 1111 1111 5563", "5555 4111 1111 1111 1111 5563", "4242 42 424 2424242", "9999999999999995",
        ],
    },
    Examples {
        entity: Entity::Iban,
        hint: "",
        found: &[
            "«DE89370400440532013000»", "«DE89 3704 0044 0532 0130 00»", "«GB29NWBK60161331926819»", "«GB29 NWBK 6016 1331 9268 19»",
            "«FR1420041010050500013M02606»", "«IT60X0542811101000000123456»", "«ES9121000418450200051332»", "«NL91ABNA0417164300»",
            "«PL61109010140000071219812874»", "«CH9300762011623852957»", "iban: «AT611904300234573201».", "«NO9386011117947»",
            "«BE68539007547034»", "«SE4550000000058398257466»", "(\"«DE89370400440532013000»\")", "«de89370400440532013000»",
            "«MT84MALT011000012345MTLCAST001S»", "«DE89-3704-0044-0532-0130-00»", "IBAN=«PT50000201231234567890154»",
        ],
        other: &[
            "DE89370400440532013001", "DE8937040044053201300", "DE893704004405320130000", "XX89370400440532013000", "DE89", "DE89 3704 0044",
            "GB29NWBK60161331926818", "XDE89370400440532013000", "DE89370400440532013000x", "DE 89370400440532013000 is not",
            "US64SVBKUS6S3300958879", "DEABCDEFGHIJKLMNOPQRST", "AD12 was built in AD12 and AD34",
        ],
    },
    Examples {
        entity: Entity::UsSsn,
        hint: "",
        found: &[
            "«536-22-8714»", "SSN: «536-22-8714».", "ssn «536228714»", "SSN «536 22 8714»", "{\"ssn\":\"«536228714»\"}", "{\"ssn\": «536228714»}",
            "social security number is «536.22.8714»", "(«536-22-8714»)", "social_security_number=«536228714»", "<ssn>«536228714»</ssn>",
            "ss# «536-22-8714»", "id\t«536-22-8714»\tok", "«001-01-0001»", "taxpayer «536-22-8714»", "«536-22-8714»", "«536 22 8714»",
        ],
        other: &[
            "536228714", "000-22-8714", "666-22-8714", "936-22-8714", "536-00-8714", "536-22-0000", "536-22-87145", "1536-22-8714",
            "536-22-8714-1", "219-09-9999", "12-34-5678", "2024-01-2024", "order 536228714", "ABC536-22-8714", "536/22/8714", "0.536-22-8714",
            "078-05-1120",
        ],
    },
    Examples {
        entity: Entity::UsItin,
        hint: "",
        found: &[
            "«912-70-1234»", "ITIN: «912-70-1234»", "itin «912701234»", "«999-88-7777»", "{\"itin\":\"«912701234»\"}", "tax id «912-91-1234»",
            "taxpayer number «912701234»", "«900-50-0000»", "TIN «912 70 1234»", "\"«912-94-1234»\"", "(«912-65-1234»)", "itin=«912701234»",
            "itin\t«912-99-1234»",
        ],
        other: &[
            "912701234", "912-49-1234", "912-66-1234", "912-69-1234", "912-89-1234", "912-93-1234", "812-70-1234", "912-70-12345", "9912-70-1234",
            "912-70-1234-5", "order 912701234", "912-00-1234", "a912-70-1234",
        ],
    },
    Examples {
        entity: Entity::UsPassport,
        hint: "passport_number",
        found: &[
            "«123456789»", "«A12345678»", "«X41424538»", "US passport «031635557»", "«932248075»", "no «Z00000001»", "passport: «A12345678»",
            "\"«123456780»\"", "(«B00000002»)", "«C98765432»", "passport_no=«A12345678»", "«987654321»",
        ],
        other: &[
            "12345678", "1234567890", "A1234567", "AB1234567", "A123456789", "a-b-c", "12345678A", "hello", "2024-01-01", "A12345678B",
            "550e8400-e29b-41d4-a716-446655440000", "1.23456789",
        ],
    },
    Examples {
        entity: Entity::UsDriverLicense,
        hint: "driver_license",
        found: &[
            "«D1234567»", "«98540001»", "«O716269343653»", "«G989296998014»", "«H12345678»", "license «S1234567»", "«123456789»", "«12345678»",
            "«A12345678901»", "«AB123456»", "\"«D1234568»\"", "dl: «D1234569»", "«1234567»",
        ],
        other: &[
            "D12", "12345", "hello", "2024-01-01", "550e8400-e29b-41d4-a716-446655440000", "D1234567890123456789", "john", "4.5", "D-1234",
            "deadbeefdeadbeef", "X", "ABCDEFGH",
        ],
    },
    Examples {
        entity: Entity::UsBankNumber,
        hint: "bank_account",
        found: &[
            "«5741902613»", "«78783798»", "«47711000»", "«570771438»", "«12345678901234567»", "acct «123456789012»", "«000123456789»",
            "account «9876543210»", "\"«78783799»\"", "(«78783790»)", "«1234567890»", "bank=«12345678»",
        ],
        other: &[
            "1234567", "123456789012345678", "2024-01-01", "12.50", "hello", "550e8400-e29b-41d4-a716-446655440000", "1234567.89012345",
            "abc12345678", "12345678abc", "0x12345678", "1/2/2024", "DE89",
        ],
    },
    Examples {
        entity: Entity::UkNhs,
        hint: "",
        found: &[
            "«990 798 0161»", "NHS «9907980161»", "NHS number: «967-106-9924»", "nhs_number=«6001131279»", "{\"nhs\":\"«0493720529»\"}",
            "patient «009 164 4925»", "«790 559 7725»", "«215 267 6742»", "«029 496 3669»", "NHS no. «6937405448»", "(«629 042 9248»)",
            "<nhs>«8758188762»</nhs>", "nhs\t«3349067344»",
        ],
        other: &[
            "9907980161", "990 798 0162", "990 798 016", "9907980161 units", "NHS 9907980162", "000 000 0000", "nhs 1234567890", "990 798 01611",
            "1990 798 0161", "NHS 990 798", "NHS 99079801615", "call 906 781 8518", "999 999 9999",
        ],
    },
    Examples {
        entity: Entity::EsNif,
        hint: "",
        found: &[
            "«18034063Q»", "DNI «76397250J»", "NIF: «08470054M».", "«34234785-K»", "«15.826.780-C»", "{\"nif\":\"«66496171C»\"}", "(«60329669W»)",
            "«63383683F»", "«18034063q»", "ES-«18034063Q»", "nif=«76397250J»", "«76397250-J», vale",
        ],
        other: &[
            "18034063R", "1803406Q", "180340630Q", "A18034063Q", "18034063QA", "18034063-QA", "1803-4063Q", "18034063", "abc-18034063Q",
            "18034063Q-1", "a1b2c3d4-18034063Q", "0x18034063Q1",
        ],
    },
    Examples {
        entity: Entity::EsNie,
        hint: "",
        found: &[
            "«Z6368886F»", "NIE «X1574702F»", "«Y0475591B».", "«Y-7260626-T»", "«Z0035333-X»", "{\"nie\":\"«Z7472357F»\"}", "(«Y3837993C»)",
            "«Z1715087M»", "«z6368886f»", "nie=«X1574702F»", "«X-1574702-F», ok", "nie\t«Y7260626T»",
        ],
        other: &[
            "Z6368886G", "Z636888F", "Z63688860F", "AZ6368886F", "Z6368886FA", "W6368886F", "X-1574702-G", "Z-6368886", "X-ray 1574702", "Y2K",
            "Z6368886F-1", "a-X1574702F",
        ],
    },
    Examples {
        entity: Entity::ItFiscalCode,
        hint: "",
        found: &[
            "«VRCCCL47R16G698J»", "CF: «NDRMRT33P08C051G».", "«VLTSLV50S68B613W»", "«CRBNTL49T01H221C»", "«CMURTI05E25A312L»",
            "{\"codice_fiscale\":\"«SRRSVD91L53H824N»\"}", "(«CHGMRK12A45F337F»)", "«GGLSYV55S28D236J»", "«vrcccl47r16g698j»",
            "cf=«NDRMRT33P08C051G»", "<cf>«VLTSLV50S68B613W»</cf>", "a;«CRBNTL49T01H221C»;b",
        ],
        other: &[
            "VRCCCL47R16G698K", "VRCCCL47R16G698", "VRCCCL47R16G698JJ", "VRCCCL47X16G698J", "VRCCCL47R99G698J", "1RCCCL47R16G698J",
            "VRCCCL47R16G6987", "ABCDEFGHIJKLMNOP", "AVRCCCL47R16G698J", "0123456789ABCDEF", "VRCCCL47R16G69J8", "VRCCC147R16G698J",
        ],
    },
    Examples {
        entity: Entity::ItDriverLicense,
        hint: "patente",
        found: &[
            "«OL9142280K»", "«U1494GKRMV»", "«U1KP7CNTPQ»", "patente «AB1234567C»", "«MI1234567X»", "\"«RM7654321A»\"", "(«TO1111111B»)",
            "n. «U1CPS5HYKY»", "«U1BCDFGHJK»", "patente di guida «NA2222222D»", "«FI3333333E»", "patente=«BO4444444F»", "«GE5555555G»",
        ],
        other: &[
            "OL914228K", "OL91422800K", "OL9142280", "9142280K", "hello", "2024-01-01", "OL9142280KK", "U2494GKRMV", "12345",
            "550e8400-e29b-41d4-a716-446655440000", "O9142280K", "patente",
        ],
    },
    Examples {
        entity: Entity::ItDriverLicense,
        hint: "",
        found: &["«U1494GKRMV»", "he showed «U1KP7CNTPQ» at the desk", "a;«U1CPS5HYKY»;b", "{\"v\":\"«U1CPS5HYKY»\"}"],
        other: &[
            "AB1234567C", "U1BCDFGHJK", "U1494AKRMV", "u1494gkrmv", "U1494GKRM", "U1494GKRMVX", "U1494GKRM7", "passport U1494GKRMV", "x-U1494GKRMV", "éU1494GKRMV",
            "U1494GKRMVé", "item_U1494GKRMV",
        ],
    },
    Examples {
        entity: Entity::ItVatCode,
        hint: "",
        found: &[
            "P.IVA «29141770619»", "«07439150041»", "partita iva «00806360939»", "VAT «33740680831»", "«IT12415860654»",
            "{\"partita_iva\":\"«34497860766»\"}", "iva: «51781280519»", "(«38836850743»)", "piva=«57070490768»", "«57489061200»",
            "«IT63170660789».", "tax id «12415860654»",
        ],
        other: &[
            "29141770618", "2914177061", "291417706190", "IT29141770618", "a29141770619", "29141770619b", "12345678901", "00000000000",
            "29141-770619", "XX29141770619", "2.9141770619", "1234567890123",
        ],
    },
    Examples {
        entity: Entity::ItPassport,
        hint: "passaporto",
        found: &[
            "«YA4317105»", "«YB8921165»", "passaporto «AA1234567»", "n. «YB1607731»", "\"«YB1764969»\"", "(«AA7654321»)",
            "passaporto n. «BB1111111»", "passaporto=«CC2222222»", "«DD3333333»", "«EE4444444»", "passaporto:«FF5555555»",
            "Passaporto italiano «GG6666666»",
        ],
        other: &[
            "Y4317105", "YA431710", "YA43171055", "hello", "2024-01-01", "12345", "4317105YA", "550e8400-e29b-41d4-a716-446655440000", "YA-431",
            "passaporto", "A1", "YA4317105B7",
        ],
    },
    Examples {
        entity: Entity::ItIdentityCard,
        hint: "carta_identita",
        found: &[
            "«CA74719LZ»", "«CA53080UI»", "«AM6600018»", "«AV0273516»", "carta d'identità «CA00000AA»", "\"«CA11111BB»\"", "(«AX1234567»)",
            "«1234567AB»", "n. «CA22222CC»", "carta=«CA33333DD»", "«AY7654321»", "C.I. «CA44444EE»",
        ],
        other: &[
            "CA7471LZ", "CA747199LZ", "C74719LZ", "hello", "2024-01-01", "12345", "CA74719L", "550e8400-e29b-41d4-a716-446655440000", "carta",
            "CA-74719", "CA74719LZZ", "74719",
        ],
    },
    Examples {
        entity: Entity::PlPesel,
        hint: "",
        found: &[
            "«26063014178»", "PESEL «99030876314»", "pesel: «67070266909».", "{\"pesel\":\"«91081743917»\"}", "(«15262300081»)", "«11122463602»",
            "«72021277833»", "«51010437403»", "pesel=«59031081241»", "«24120658686», ok", "<pesel>«07231234493»</pesel>", "nr «23303178698»",
        ],
        other: &[
            "26063014179", "2606301417", "260630141780", "a26063014178", "26063014178b", "99130876313", "67070066908", "26063-014178",
            "0.26063014178", "26 063 014 178", "12345678901", "99999999999",
        ],
    },
    Examples {
        entity: Entity::MedicalLicense,
        hint: "",
        found: &[
            "«AB9333319»", "DEA «BX2459952»", "dea: «CF6823074».", "«F95157121»", "{\"dea\":\"«MJ5905483»\"}", "(«AS9010391»)", "«PA7993442»",
            "«GR6179926»", "prescriber «KL4053269»", "«XW1000859», ok", "dea=«RZ7719618»", "DEA#«HT1459317»",
        ],
        other: &[
            "AB9333318", "AB933331", "AB93333190", "aB9333319", "XAB9333319", "AB9333319x", "A-B9333319", "passport AB9333319", "NB9333319",
            "AB-9333319", "ABC333319", "AB9333319-AB",
        ],
    },
    Examples {
        entity: Entity::IpAddress,
        hint: "",
        found: &[
            "from «192.168.10.20»", "«8.8.8.8»:53", "(«10.0.0.1»)", "host=«203.0.113.7»", "«203.0.113.7»/24", "http://«203.0.113.7»/x",
            "«2001:db8::1»", "«fe80::1ff:fe23:4567:890a»", "[«2001:db8:85a3::8a2e:370:7334»]:443", "«::1»", "«::ffff:192.0.2.128»",
            "«2001:0db8:85a3:0000:0000:8a2e:0370:7334»", "«2001:db8:1:2:3:4:5:6»", "ip:«203.0.113.9».", "\x1b[33m«203.0.113.9»\x1b[0m",
            "«2001:db8::»", "\"«127.0.0.1»\"", "«1.1.1.1»", "addr «fe80::1»%eth0",
        ],
        other: &[
            "v1.2.3.4", "version 1.2.3.4", "1.3.6.1", "1.3.6.1.4.1", "256.1.1.1", "1.2.3", "1.2.3.4.5", "01.02.03.04", "12:34:56", "std::vector",
            "a::b", "1.2.3.4-beta", "Chrome/120.0.6099.71", "::", "1:2:3:4:5:6:7:8:9", "0.0.0.0", "12.34.56.789", "release 10.20.30.40",
            "face::cafe", "args[::2]", "c::B110", "(?::0)", "oid 2.5.4.3",
        ],
    },
    Examples {
        entity: Entity::MacAddress,
        hint: "",
        found: &[
            "«00:1A:2B:3C:4D:5E»", "«00-1a-2b-3c-4d-5e»", "«001a.2b3c.4d5e»", "mac=«00:1a:2b:3c:4d:5e»", "(«aa:bb:cc:dd:ee:ff»)",
            "«AA-BB-CC-DD-EE-FF».", "link/ether «52:54:00:12:34:56» brd", "\"«de:ad:be:ef:00:01»\"", "«01:23:45:67:89:ab»",
            "mac: «01-02-03-04-05-06»", "«00:1A:2B:3C:4D:5E:6F:70»", "HWaddr «08:00:27:13:37:00»", "«0123.4567.89ab», x",
        ],
        other: &[
            "00:1A:2B:3C:4D", "00:1A:2B:3C:4D:5E:6F", "00:1A:2B:3C:4D:5G", "00:1A-2B:3C-4D:5E", "01-02-03-04-05-06", "12:34:56",
            "2024-01-02-03-04-05", "00:00:00:00:00:00", "a:b:c:d:e:f", "001a.2b3c", "1234.5678.9012",
            "aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99", "x00:1A:2B:3C:4D:5E",
        ],
    },
    Examples {
        entity: Entity::DateOfBirth,
        hint: "",
        found: &[
            "born «12/03/1985»", "DOB: «1985-03-12»", "date of birth «12.03.1985»", "birthday «March 12, 1985»", "geboren am «12. März 1985»",
            "Geburtsdatum: «12.03.1985»", "né le «12 mars 1985»", "nacido el «12 de marzo de 1985»", "nata il «12/03/1985»",
            "urodzony «12.03.1985»", "{\"dateOfBirth\":\"«1985-03-12»\"}", "{\"dob\":\"«1985-03-12»T00:00:00Z\"}", "birth_date=«19850312»",
            "was born on «12 Mar 1985»", "DOB «3/4/56»", "born «12th March 1985»", "<birthDate>«1985-03-12»</birthDate>", "Birth: «12-Mar-1985»",
        ],
        other: &[
            "1985-03-12", "created 1985-03-12", "born to run", "born 1985", "DOB unknown", "DOB 13/13/1985", "birthday party at 12:30",
            "born in room 12", "dob 1985-03-12 14:22:01", "birth 12.5", "birth weight 3.400", "{\"born\":true,\"created\":\"1985-03-12\"}",
            "born 99/99/9999", "March 12, 1985",
        ],
    },
    Examples {
        entity: Entity::Passport,
        hint: "",
        found: &[
            "passport «FF5299285»", "Reisepass «C01X00T47»", "passport no. «Z5812497»", "pasaporte «AAA123456»", "passeport «AB123456»",
            "{\"passport\":\"«QV9289070»\"}", "passport=«M4114196»", "paszport «AB1234567»", "passport: «12345678»",
            "«L898902C36UTO7408122F1204159<<<<<<<<<<<<<<08»",
            "«P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159<<<<<<<<<<<<<<08»",
            "MRZ «C01X00T478D<<6408125F2702283<<<<<<<<<<<<<<04»", "Reisepassnummer «HZG005790»",
        ],
        other: &[
            "FF5299285", "passport photo", "passport control 12", "L898902C36UTO7408122F1204158<<<<<<<<<<<<<<08",
            "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "passport 2024-01-01", "passport HELLO",
            "passport 550e8400-e29b-41d4-a716-446655440000", "passport.js 1.2.3", "order Z5812497", "passport A1", "passports 1,234",
        ],
    },
    Examples {
        entity: Entity::CryptoAddress,
        hint: "",
        found: &[
            "«1ByqsJXSX6A2aBb8nap1CKW8iPNqJPgatd»", "«3PijKtCviASLiMdeb7NKrdmSLqs1EkczYv»", "«mxxMUo3FunLMRiyq65S4guo9NyMX3jvhSo»",
            "«2Mz58h3YBUtT2GATGNdCiCMx3cJ2YTcFqTT»", "«LSLzDhiT7hdXBokLMu4VeE4tUGubtHtsjV»", "«MEZLComii4acb7bnvESeiG8msTk6KMBwuc»",
            "«DEGgEuDZGU1by1uq5m8ZtuHR4tyxbwRrqY»", "«XbQC5U5vtdsQ4riHMVDiHfMc7QNj8txSmy»", "«TCrChuPNNk5ZKJ3eNECcGiizEwU32fG9EF»",
            "«t1W13mdmKWsgNK4F6vexbXUPVEPoxJUVXNT»", "«rBck6g7DruduGuHwpJDhbRByEF7edzq9YV»", "«bc1qct3ejh5mft0uza3d4xjhefngmgzs6xyr378u38»",
            "«bc1ptyufdt7h2z2x5cxnt50rddq46gzsr8gzn09nypc0v3vlazzfvhfqnxwdqa»", "«BC1QCT3EJH5MFT0UZA3D4XJHEFNGMGZS6XYR378U38»",
            "«ltc1q3qezpvnzumzs5xmsegtwzxm60aepv52czvlpne»", "to «0x76a4603722b99862219f2d739340cc90b6ceed43».",
            "«4JC2QktjmPzT2jnmWGwSPzh7CK8JfoFnk3S3fBUDqLARp3cLhhCdvFdYnaHUjkdP18vqriKz3ywefm4Gk83sMErPp6TmpSp»",
            "wallet «8eHhfWRiZFJ8eEzjAfPsrknXMDWcSigcAR5yoMR7k7PE»", "(«1ByqsJXSX6A2aBb8nap1CKW8iPNqJPgatd»)",
        ],
        other: &[
            "1ByqsJXSX6A2aBb8nap1CKW8iPNqJPgate", "3PijKtCviASLiMdeb7NKrdmSLqs1EkczY0", "bc1qct3ejh5mft0uza3d4xjhefngmgzs6xyr378u39",
            "0x76a4603722b99862219f2d739340cc90b6ceed4", "0x76a4603722b99862219f2d739340cc90b6ceed433", "76a4603722b99862219f2d739340cc90b6ceed43",
            "8eHhfWRiZFJ8eEzjAfPsrknXMDWcSigcAR5yoMR7k7PE", "x1ByqsJXSX6A2aBb8nap1CKW8iPNqJPgatd", "bc1",
            "Bc1qct3ejh5mft0uza3d4xjhefngmgzs6xyr378u38", "0xdeadbeef", "1111111111111111111111111111",
        ],
    },
    Examples {
        entity: Entity::Jwt,
        hint: "",
        found: &[
            "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl»", "Bearer «eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl»",
            "token=«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln»;", "\"«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_»\"",
            "«eyAiYWxnIjoiSFMyNTYifQ.eyJzdWIiOiIxIn0.c2ln»", "«ewogICJhbGciOiAiSFMyNTYiCn0.ewogInN1YiI6MX0.c2ln»",
            "«eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.»", "see «eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln».",
            "(«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln»)", "\\n«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln»\\n",
            "cookie: a=«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln», b", "«eyJhbGciOiJIUzI1NiJ9.e30.c2ln»",
        ],
        other: &[
            "eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", "eyJhbGciOiJIUzI1NiJ9.c2ln.c2ln", "c2ln.eyJzdWIiOiIxIn0.c2ln",
            "xeyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJ.eyJ", "eyewitness.eyeball.eye", "a.b.c", "eyJhbGciOiJIUzI1NiJ9..c2ln",
            "eyJhbGciOiJIUzI1NiJ9 .eyJzdWIiOiIxIn0.c2ln", "ewe.lamb.ram", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0 c2ln",
        ],
    },
    Examples {
        entity: Entity::PrivateKey,
        hint: "",
        found: &[
            "«-----BEGIN PRIVATE KEY-----\n{L}\n-----END PRIVATE KEY-----»",
            "«-----BEGIN RSA PRIVATE KEY-----\n{L}\n{L}\n-----END RSA PRIVATE KEY-----»\n",
            "key: \"«-----BEGIN EC PRIVATE KEY-----\\n{L}\\n-----END EC PRIVATE KEY-----»\\n\"",
            "«-----BEGIN OPENSSH PRIVATE KEY-----\r\n{L}\r\n-----END OPENSSH PRIVATE KEY-----»",
            "«-----BEGIN ENCRYPTED PRIVATE KEY-----\n{L}\n-----END ENCRYPTED PRIVATE KEY-----»",
            "«-----BEGIN DSA PRIVATE KEY-----\n{L}\n-----END DSA PRIVATE KEY-----»",
            "«-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{L}\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----»",
            "«-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF0123456789ABCDEF\n\n{L}\n-----END RSA PRIVATE KEY-----»",
            "«---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{L}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----»",
            "«PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: me\nPublic-Lines: 1\n{L}\nPrivate-Lines: 1\n{L}\nPrivate-MAC: 0123456789abcdef0123456789abcdef»\n",
            "cut off: «-----BEGIN PRIVATE KEY-----\n{L}\n{L}»", "x «AGE-SECRET-KEY-10FGMEDRWELQX4X8NDP6WWSU9UX78ANNVGQLZAZK9PE9F7P7893DQZEP83Q»",
            "«5J2TrSZrM6qmLbVS9vjTfoQfmaRLfMiGQ2dv4iGHG3biAQEdSyW»", "«KwuhurQLDNpAghp9SmmUFXiJ3cMTFf6qRTJfqyRGdmJkC6c6zj31»",
            "«xprv9s21ZrQH143K2DJMvArHvuSqFnKjXmmYuJGsYGLW4g6FCZwDpqBXhss36JsTrcNdAw5QKVEtXwQBvkA3FNLB2moif5XzbuY4DiwVTnTb889»",
        ],
        other: &[
            "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "-----BEGIN PUBLIC KEY-----\n{L}\n-----END PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----\n{L}\n-----END CERTIFICATE-----",
            "BEGIN PRIVATE KEY\n{L}", "-----END PRIVATE KEY-----", "PuTTY-User-Key-File-3 is a format",
            "AGE-SECRET-KEY-10FGMEDRWELQX4X8NDP6WWSU9UX78ANNVGQLZAZK9PE9F7P7893DQZEP83P", "5J2TrSZrM6qmLbVS9vjTfoQfmaRLfMiGQ2dv4iGHG3biAQEdSyX",
            "the PRIVATE KEY is secret", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n{L}\n-----END PGP PUBLIC KEY BLOCK-----",
            "----- BEGIN PRIVATE KEY -----", "-----BEGIN PRIVATE KEY----- is how it begins, then come a few words and so on",
        ],
    },
];
