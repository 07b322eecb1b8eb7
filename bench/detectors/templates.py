"""The texts the values are put into. Each subject has a list to tune with and a list held out; no text stands in both."""

# Sentences, by entity, in the languages the entity is at home in.
PROSE = {
    "email": (
        ["Write to {{email}} before {{day}}.", "Schicken Sie die Rechnung bitte an {{email}}.", "cc: <{{email}}>, <{{email}}>"],
        ["The invitation went to {{email}}, not to her old account.", "Mon adresse est {{email}}, merci.", "mailto:{{email}}?subject=order%20{{small}}"],
    ),
    "phone": (
        ["Ring me on {{phone}} after six.", "Meine Handynummer ist {{phone_de}}.", "Mi teléfono es {{phone_es}}, gracias.", "Tel. {{phone}} / Fax {{phone}}"],
        ["You can reach the clinic at {{phone_us}} or {{phone_uk}}.", "Rappelez-moi au {{phone_fr}} s'il vous plaît.", "Proszę dzwonić pod numer {{phone_pl}}.",
         "Cellulare: {{phone_it}}"],
    ),
    "card": (
        ["Charge {{card}} for the remaining amount.", "Die Kreditkarte {{card}} wurde abgelehnt.", "Paid with card no. {{card}}, exp 04/29."],
        ["Customer read out {{card}} over the line, please redact.", "Mi tarjeta {{card}} no funciona.", "Refund order {{small}} to the Visa or Mastercard {{card}}."],
    ),
    "iban": (
        ["Überweisen Sie {{money}} EUR auf {{iban}}.", "Our account for the transfer: {{iban}}, reference {{id9}}.", "Il mio IBAN è {{iban}}."],
        ["Bitte buchen Sie von meinem Konto {{iban}} ab.", "Beneficiary bank details follow. {{iban}} BIC DEUTDEFF", "Numer rachunku: {{iban}}"],
    ),
    "us-ssn": (
        ["My SSN is {{ssn}}, the card got lost.", "Employee social security number: {{ssn_bare}}", "She wrote {{ssn}} on the form."],
        ["Please verify social security {{ssn}} with payroll.", "SSN on file: {{ssn_bare}}. Do not share.", "Applicant {{ssn}} was approved on {{day_us}}."],
    ),
    "us-itin": (
        ["The taxpayer uses ITIN {{itin}}.", "Individual taxpayer identification number {{itin}} was issued in spring.", "W-7 result: {{itin}}"],
        ["My ITIN ({{itin}}) expires this year.", "Enter {{itin}} where the form asks for a taxpayer id.", "Tax id of the spouse: {{itin}}"],
    ),
    "us-passport": (
        ["My US passport {{us_passport}} expires in May.", "Passport number: {{us_passport}} (United States)", "He travels on U.S. passport no. {{us_passport}}."],
        ["United States passport {{us_passport}} was presented at the gate.", "Please note my new passport number, {{us_passport}}; I am a US citizen.",
         "US Passport #: {{us_passport}}"],
    ),
    "us-driver-license": (
        ["Driver's license {{us_licence}} was checked at pickup.", "DL number {{us_licence}}, state CA", "Her driver license no. is {{us_licence}}."],
        ["Renter showed a driver's license ({{us_licence}}).", "Driving license: {{us_licence}}", "License no. {{us_licence}}, class C driver, expires {{day_us}}"],
    ),
    "us-bank-number": (
        ["Wire it to bank account {{us_bank}} please.", "Checking account number {{us_bank}}, Wells Fargo", "Direct deposit goes to account no. {{us_bank}}."],
        ["My savings account is {{us_bank}} at Chase.", "Debit account number {{us_bank}} on the first of the month.", "Bank acct: {{us_bank}}"],
    ),
    "uk-nhs": (
        ["NHS number {{nhs}}, referred by the GP.", "Patient {{nhs}} was seen in the NHS clinic.", "Her NHS no. is {{nhs}}."],
        ["Please quote your NHS number: {{nhs}}", "National Health Service id {{nhs}} does not match the record.", "Referral for NHS patient no {{nhs}} was accepted."],
    ),
    "es-nif": (
        ["Mi DNI es {{nif}} y vivo en Sevilla.", "NIF del cliente: {{nif}}", "El titular, con documento {{nif}}, firma el contrato."],
        ["Con DNI número {{nif}}, comparece ante el notario.", "Número de identificación fiscal {{nif}}", "The Spanish tenant's NIF is {{nif}}."],
    ),
    "es-nie": (
        ["Mi NIE es {{nie}}.", "Tarjeta de residencia, NIE {{nie}}", "El trabajador extranjero {{nie}} causa alta."],
        ["Número de identidad de extranjero: {{nie}}", "The landlord asked for my NIE ({{nie}}).", "Solicitud de {{nie}} recibida el {{day_eu}}."],
    ),
    "it-fiscal-code": (
        ["Il mio codice fiscale è {{fiscal_code}}.", "C.F. {{fiscal_code}}", "The Italian tax code {{fiscal_code}} belongs to the buyer."],
        ["Codice fiscale del paziente: {{fiscal_code}}", "Intestato a {{fiscal_code}}, residente a Torino.", "CF: {{fiscal_code}}; telefono {{phone_it}}"],
    ),
    "it-driver-license": (
        ["Patente di guida {{it_licence}} rilasciata a Roma.", "Patente n. {{it_licence}}", "La mia patente è {{it_licence}}."],
        ["Numero patente: {{it_licence}}", "Il conducente esibisce la patente {{it_licence}}.", "Italian driver license (patente) {{it_licence}}"],
    ),
    "it-vat-code": (
        ["Partita IVA {{it_vat}}", "Fattura intestata alla P.IVA {{it_vat}}.", "La nostra partita iva è {{it_vat}}."],
        ["P. IVA: {{it_vat}} - Milano", "The supplier's Italian VAT code (piva) is {{it_vat}}.", "Cedente con partita IVA n. {{it_vat}}"],
    ),
    "it-passport": (
        ["Passaporto italiano {{it_passport}}", "Il mio passaporto è {{it_passport}}.", "Numero di passaporto: {{it_passport}}"],
        ["Passaporto n. {{it_passport}} rilasciato dalla questura.", "Viaggia con passaporto elettronico {{it_passport}}.", "Italian passport (passaporto) {{it_passport}}"],
    ),
    "it-identity-card": (
        ["Carta d'identità {{it_card}}", "La carta di identità elettronica {{it_card}} scade domani.", "Documento: carta identità n. {{it_card}}"],
        ["Numero della carta d'identità: {{it_card}}", "Identificato a mezzo carta d'identità {{it_card}}.", "CIE (carta identità) {{it_card}}"],
    ),
    "pl-pesel": (
        ["Mój PESEL to {{pesel}}.", "Nr PESEL: {{pesel}}", "Pacjent {{pesel}} zgłosił się do lekarza."],
        ["Proszę podać numer PESEL {{pesel}} w formularzu.", "The Polish id (PESEL) is {{pesel}}.", "Wnioskodawca, {{pesel}}, zamieszkały w Gdańsku."],
    ),
    "medical-license": (
        ["Prescriber DEA number {{dea}}", "The physician's DEA registration is {{dea}}.", "Doctor's medical certificate {{dea}}"],
        ["DEA# {{dea}} on the prescription", "Please confirm DEA {{dea}} with the pharmacy.", "Medical license (DEA) of the doctor: {{dea}}"],
    ),
    "ip-address": (
        ["Blocked {{ipv4}} after five attempts.", "The host answers on {{ipv6}} as well.", "Route {{ipv4}}/24 via {{ipv4}}."],
        ["Please allow {{ip}} through the firewall.", "Someone signed in from {{ipv4}} at {{iso}}.", "Der Server {{ipv6}} antwortet nicht."],
    ),
    "mac-address": (
        ["The laptop's MAC address is {{mac}}.", "Lease given to {{mac}}.", "Neues Gerät: {{mac}} im WLAN"],
        ["Device {{mac}} joined the network.", "Whitelist {{mac}} and {{mac}} please.", "Adresse MAC : {{mac}}"],
    ),
    "date-of-birth": (
        ["Date of birth: {{dob}}", "DOB {{dob_us}}, admitted on {{day_us}}.", "Geboren am {{dob_eu}} in Kiel.", "She was born on {{dob_long}}."],
        ["His birth date is {{dob_us}}.", "Fecha de nacimiento: {{dob_eu}}", "Geburtsdatum {{dob_eu}}, Eintritt {{day_eu}}", "D.O.B.: {{dob_long}}", "Born {{dob}}, hired {{day}}."],
    ),
    "passport": (
        ["British passport number {{passport_uk}}", "Reisepassnummer {{passport_de}}", "Indian passport {{passport_in}} was renewed."],
        ["My UK passport is {{passport_uk}}.", "Número de pasaporte {{passport_es}}", "Der Reisepass {{passport_de}} ist abgelaufen.", "Passport No: {{passport_in}}"],
    ),
    "crypto-address": (
        ["Send the bitcoin to {{bitcoin}}.", "Wallet: {{bitcoin}}", "Donations in ether: {{ethereum}}", "The ransom note names {{bitcoin}}."],
        ["Payout address {{bitcoin}} was confirmed.", "My BTC wallet is {{bitcoin}}, thanks.", "0.4 ETH went to {{ethereum}}.", "deposit {{bitcoin}}"],
    ),
    "jwt": (
        ["Authorization: Bearer {{jwt}}", "The session token was {{jwt}}."],
        ["curl -H 'Authorization: Bearer {{jwt}}' https://api.example.com/me", "id_token={{jwt}}"],
    ),
    "private-key": (
        ["I put the key here for now:\n{{key}}\nplease delete it later", "{{key}}\n", "key = \"{{key_escaped}}\""],
        ["Deploy key follows\n\n{{key}}\n\nThanks!", "TLS_KEY=\"{{key_escaped}}\"\nTLS_PORT=8443", "> {{key}}"],
    ),
    "credential": (
        ["git clone https://x-access-token:{{cred_github}}@github.com/acme/app.git", "GITHUB_TOKEN={{cred_github_fine}}", "the bot token is {{cred_slack_bot}}",
         "AWS_ACCESS_KEY_ID={{cred_aws_id}}\nAWS_SECRET_ACCESS_KEY={{cred_aws_secret}}", "stripe.api_key = \"{{cred_stripe}}\"", "key={{cred_google_key}}&q=1",
         "GitLab: {{cred_gitlab}} (read_api)", "OPENAI_API_KEY={{cred_openai}}", "do token {{cred_digitalocean}}", "Databricks pat {{cred_databricks}}",
         "password = {{cred_pypi}}", "telegram bot token {{cred_telegram}}", "NEW_RELIC_API_KEY={{cred_new_relic}}", "LINEAR={{cred_linear}}"],
        ["//registry.npmjs.org/:_authToken={{cred_npm}}", "oauth token {{cred_github_oauth}} leaked in the log", "aws_secret_access_key = {{cred_aws_secret}}",
         "export AWS_ACCESS_KEY_ID={{cred_aws_id}}", "restricted key {{cred_stripe_short}}", "curl -X POST {{cred_slack_hook}}", "client_secret: {{cred_google_secret}}",
         "Use {{cred_github}} until Friday.", "SENDGRID_API_KEY={{cred_sendgrid}}", "twilio api key {{cred_twilio}}", "x-api-key: {{cred_anthropic}}",
         "HF_TOKEN={{cred_hugging_face}}", "X-Shopify-Access-Token: {{cred_shopify}}",
         "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={{cred_azure_storage}};EndpointSuffix=core.windows.net",
         "X-API-Key: {{cred_postman}}", "DOPPLER_TOKEN={{cred_doppler}}"],
    ),
}

# Columns that say what they hold: value, and (table, column) to tune with, then held out.
FRIENDLY = {
    "email": ([("users", "email"), ("contacts", "e_mail")], [("customers", "email_address"), ("subscribers", "contact_email")]),
    "phone": ([("users", "phone"), ("suppliers", "telephone")], [("customers", "phone_number"), ("staff", "mobile")]),
    "card": ([("payments", "card_number"), ("wallets", "pan")], [("orders", "credit_card"), ("billing", "cc_number")]),
    "iban": ([("accounts", "iban"), ("payouts", "bank_account_iban")], [("creditors", "iban_code"), ("customers", "iban")]),
    "ssn": ([("employees", "ssn"), ("applicants", "social_security_number")], [("persons", "us_ssn"), ("payroll", "social_security")]),
    "ssn_bare": ([("employees", "ssn")], [("payroll", "ssn_number"), ("persons", "social_security_no")]),
    "itin": ([("taxpayers", "itin")], [("vendors", "us_itin"), ("taxpayers", "itin_number")]),
    "us_passport": ([("travellers", "us_passport"), ("crew", "us_passport_number")], [("passengers", "us_passport_no")]),
    "us_licence": ([("drivers", "driver_license"), ("rentals", "dl_number")], [("drivers", "drivers_license_no"), ("renters", "driver_licence")]),
    "us_bank": ([("payroll", "bank_account"), ("accounts", "account_number")], [("deposits", "bank_account_number"), ("payees", "checking_account")]),
    "nhs": ([("patients", "nhs_number")], [("referrals", "nhs_no"), ("patients", "nhs")]),
    "nif": ([("clientes", "nif"), ("clientes", "dni")], [("personas", "nif_titular"), ("empleados", "dni_numero")]),
    "nie": ([("clientes", "nie")], [("inquilinos", "nie"), ("empleados", "numero_nie")]),
    "fiscal_code": ([("clienti", "codice_fiscale")], [("pazienti", "cod_fiscale"), ("clienti", "fiscal_code")]),
    "it_licence": ([("conducenti", "patente")], [("noleggi", "numero_patente"), ("autisti", "patente_guida")]),
    "it_vat": ([("fornitori", "partita_iva")], [("fatture", "piva"), ("aziende", "p_iva")]),
    "it_passport": ([("ospiti", "passaporto")], [("viaggiatori", "numero_passaporto")]),
    "it_card": ([("ospiti", "carta_identita")], [("clienti", "carta_d_identita"), ("ospiti", "numero_carta_identita")]),
    "pesel": ([("pacjenci", "pesel")], [("pracownicy", "nr_pesel"), ("osoby", "pesel")]),
    "dea": ([("prescribers", "dea_number")], [("doctors", "dea"), ("pharmacies", "dea_no")]),
    "ip": ([("sessions", "ip_address"), ("logins", "remote_ip")], [("visits", "client_ip"), ("devices", "ip")]),
    "mac": ([("devices", "mac_address")], [("leases", "mac"), ("interfaces", "hw_mac")]),
    "dob": ([("patients", "date_of_birth"), ("members", "dob")], [("persons", "birth_date"), ("staff", "birthdate")]),
    "dob_us": ([("patients", "dob")], [("customers", "birthday")]),
    "dob_eu": ([("personen", "geburtsdatum")], [("clientes", "fecha_nacimiento")]),
    "passport_uk": ([("travellers", "passport_number")], [("guests", "passport_no")]),
    "passport_de": ([("reisende", "reisepass")], [("gaeste", "reisepassnummer")]),
    "passport_es": ([("viajeros", "pasaporte")], [("clientes", "num_pasaporte")]),
    "passport_in": ([("visas", "passport")], [("applicants", "passport_num")]),
    "bitcoin": ([("withdrawals", "btc_address")], [("customers", "wallet_address"), ("payouts", "bitcoin_address")]),
    "ethereum": ([("withdrawals", "eth_address")], [("wallets", "ethereum_wallet")]),
    "jwt": ([("sessions", "token")], [("logins", "id_token")]),
    "key": ([("certificates", "private_key")], [("hosts", "ssh_key")]),
    "cred_github": ([("integrations", "github_token")], [("repos", "access_token")]),
    "cred_aws_secret": ([("cloud_accounts", "aws_secret_access_key")], [("cloud_accounts", "aws_secret_key")]),
    "cred_twilio": ([("integrations", "twilio_api_key")], [("settings", "twilio_key")]),
    "cred_stripe": ([("settings", "stripe_key")], [("tenants", "stripe_secret")]),
}

# Columns that say nothing. What cannot be told from an ordinary number here is labelled all the same.
HOSTILE = ([("t1", "c1"), ("import_7", "value"), ("kv", "data"), ("answers", "misc")], [("staging", "col_4"), ("t_9", "v"), ("form_fields", "content"), ("legacy", "attr2")])

# Cells that are not sensitive, in columns with ordinary and with empty names.
INNOCENT_COLUMNS = {
    "uuid": ([("orders", "id")], [("events", "event_id")]),
    "sha1": ([("commits", "sha")], [("builds", "revision")]),
    "sha256": ([("files", "checksum")], [("images", "digest")]),
    "sql_time": ([("orders", "created_at")], [("jobs", "finished_at")]),
    "day": ([("invoices", "due")], [("contracts", "valid_until")]),
    "epoch": ([("events", "ts")], [("metrics", "time")]),
    "epoch_ms": ([("clicks", "at_ms")], [("events", "received_ms")]),
    "order": ([("orders", "order_no")], [("shipments", "reference")]),
    "id9": ([("items", "item_id")], [("tickets", "ticket_no")]),
    "id11": ([("parcels", "barcode")], [("assets", "asset_tag")]),
    "semver": ([("releases", "version")], [("packages", "current_version")]),
    "version4": ([("drivers", "build")], [("clients", "user_agent_version")]),
    "isbn13": ([("books", "isbn")], [("editions", "isbn13")]),
    "isbn10": ([("books", "isbn10")], [("loans", "book_isbn")]),
    "float": ([("measurements", "celsius")], [("samples", "mean")]),
    "money": ([("invoices", "amount")], [("orders", "total")]),
    "colour": ([("themes", "accent")], [("labels", "colour")]),
    "blob": ([("files", "thumbnail")], [("messages", "body_b64")]),
    "bytea": ([("files", "content")], [("objects", "raw")]),
    "cursor": ([("pages", "next_cursor")], [("feeds", "cursor")]),
    "ulid": ([("events", "ulid")], [("traces", "span_id")]),
    "sku": ([("products", "sku")], [("stock", "article")]),
    "parcel": ([("shipments", "tracking")], [("parcels", "ups_tracking")]),
    "coordinate": ([("stores", "position")], [("trips", "start_point")]),
    "word": ([("orders", "status")], [("jobs", "state")]),
}

BODIES = (
    [
        '{"id":"{{uuid}}","user":{"email":"{{email}}","phone":"{{phone}}"},"created":"{{iso}}"}',
        '{"event":"payment","card":"{{card}}","amount":{{money}},"order":"{{order}}"}',
        '[{"ssn":"{{ssn}}","dob":"{{dob}}"},{"ssn":"{{ssn}}","dob":"{{dob}}"}]',
        '{"ts":{{epoch_ms}},"ip":"{{ip}}","ua":"Mozilla/5.0 (X11; Linux x86_64) Chrome/{{semver}}"}\n{"ts":{{epoch_ms}},"ip":"{{ip}}","ua":"curl/{{semver}}"}',
        "id,email,phone,iban\n{{small}},{{email}},{{phone}},{{iban}}\n{{small}},{{email}},{{phone}},{{iban}}\n",
        "codice_fiscale;partita_iva;importo\n{{fiscal_code}};{{it_vat}};{{money}}\n{{fiscal_code}};{{it_vat}};{{money}}\n",
        '<tr><td>{{small}}</td><td><a href="mailto:{{email}}">{{email}}</a></td><td>{{phone}}</td></tr>',
        '<input type="hidden" name="csrf" value="{{sha1}}"><input name="card" value="{{card}}">',
        '{"token":"{{jwt}}","expires":{{epoch}}}',
        '{"type":"service_account","project_id":"acme","private_key_id":"{{sha1}}","private_key":"{{key_escaped}}\\n"}',
        '{"pesel":"{{pesel}}","wizyta":"{{day}}","gabinet":"{{small}}"}',
        '{"a":"{{nif}}","b":"{{nie}}","c":"{{id9}}","d":"{{uuid}}"}',
        '{"nhs_number":"{{nhs}}","record":"{{id9}}"}',
        '{"device":"{{uuid}}","mac":"{{mac}}","fw":"{{semver}}","pos":[{{float}},{{float}}]}',
        '{"id":"{{uuid}}","sha":"{{sha1}}","size":{{small}},"etag":"{{md5}}","at":"{{iso}}"}',
        "id,sku,price,updated\n{{id9}},{{sku}},{{money}},{{sql_time}}\n{{id9}},{{sku}},{{money}},{{sql_time}}\n",
    ],
    [
        '{"customer":{"contact":["{{email}}","{{phone}}"],"ref":"{{id9}}"},"at":"{{sql_time}}"}',
        '{"method":"card","pan":"{{card}}","iban":null,"total":"{{money}}"}\n{"method":"sepa","pan":null,"iban":"{{iban}}","total":"{{money}}"}',
        '{"employee":{"social_security_number":"{{ssn}}","birthDate":"{{dob}}","hired":"{{day}}"}}',
        'id\tclient_ip\tmac\tseen\n{{id9}}\t{{ip}}\t{{mac}}\t{{iso}}\n{{id9}}\t{{ip}}\t{{mac}}\t{{iso}}\n',
        '"order","mail","tel","card"\n"{{order}}","{{email}}","{{phone}}","{{card}}"\n"{{order}}","{{email}}","{{phone}}","{{card}}"\n',
        "<p>Contact: {{email}}<br>Phone: {{phone}}</p><!-- build {{short_sha}} -->",
        '<li data-id="{{uuid}}">IBAN <b>{{iban}}</b>, DOB <i>{{dob_eu}}</i></li>',
        '{"access_token":"{{jwt}}","refresh":"{{uuid}}"}',
        '{"tls":{"cert":"{{sha256}}","key":"{{key_escaped}}"},"port":{{port}}}',
        '{"dni":"{{nif}}","telefono":"{{phone_es}}"}\n{"nie":"{{nie}}","telefono":"{{phone_es}}"}',
        "pesel;kwota;data\n{{pesel}};{{money}};{{day}}\n{{pesel}};{{money}};{{day}}\n",
        '{"cliente":{"cf":"{{fiscal_code}}","piva":"{{it_vat}}"},"numero":"{{small}}"}',
        '{"x1":"{{ssn}}","x2":"{{itin}}","x3":"{{id9}}"}',
        '{"patient":{"nhs":"{{nhs}}","mrn":"{{id8}}"},"seen":"{{iso}}"}',
        '{"build":{"version":"{{semver}}","commit":"{{sha1}}","image":"sha256:{{sha256}}"},"ms":{{epoch_ms}}}',
        '<span class="price">{{money}}</span><span class="isbn">{{isbn13}}</span><time datetime="{{iso}}">{{day_us}}</time>',
    ],
)

TERMINAL = (
    [
        '{{ipv4}} - - [{{clf_time}}] "GET /api/orders/{{id9}} HTTP/1.1" 200 {{small}} "-" "curl/{{semver}}"',
        "\x1b[32mINFO\x1b[0m {{iso}} login ok user=\x1b[1m{{email}}\x1b[0m ip={{ip}} trace={{md5}}",
        "{{iso}} WARN mail bounced to=<{{email}}> status=5.1.1 id={{uuid}}",
        " id |       email        | phone\n----+--------------------+------\n {{small}} | {{email}} | {{phone}}\n {{small}} | {{email}} | {{phone}}\n(2 rows)\n",
        "-[ RECORD 1 ]--\nssn   | {{ssn}}\ncard  | {{card}}\nadded | {{sql_time}}\n",
        "\x1b]0;ops@db: ~\x07\x1b[01;34m~\x1b[00m$ dig +short host\n\x1b[33m{{ipv4}}\x1b[0m\n{{ipv6}}\n",
        "dhcpd: DHCPACK on {{ipv4}} to {{mac}} via eth0",
        "\x1b[36mexport\x1b[0m GITHUB_TOKEN=\x1b[33m{{cred_github}}\x1b[0m\r\n",
        "kernel: eth0: link up, 1000Mbps, full-duplex, lpa {{hex_address}}, took {{float}} s",
        "{{short_sha}} (HEAD -> main) release {{semver}}\n{{short_sha}} fix rounding in {{sku}}\n",
        "LOG:  checkpoint complete: wrote {{small}} buffers; lsn={{lsn}}, redo lsn={{lsn}} at {{sql_time}}",
        "npm notice \x1b[2m{{package}}\x1b[22m shasum: {{sha1}} integrity: sha512-{{blob}}",
        "payment id={{uuid}} pan={{card}} result=declined order={{order}}",
        "GET /transfer?to={{iban}}&amount={{money}}",
    ],
    [
        '{{ip}} {{email}} [{{clf_time}}] "POST /login HTTP/2" 401 {{small}} rt={{duration}}',
        "\x1b[31mERROR\x1b[0m [{{epoch_ms}}] cannot send SMS to \x1b[4m{{phone_intl}}\x1b[0m: provider code {{small}}",
        "{{sql_time}} worker-{{small}} charge failed card={{card}} intent={{uuid}}",
        "+----+------------------+\n| id | iban             |\n+----+------------------+\n| {{small}} | {{iban}} |\n| {{small}} | {{iban}} |\n+----+------------------+\n",
        "\x1b[1mname\x1b[0m: row {{small}}\r\n\x1b[1mssn\x1b[0m: {{ssn}}\r\n\x1b[1mdob\x1b[0m: {{dob}}\r\n",
        "sshd[{{small}}]: Failed password for invalid user admin from {{ipv4}} port {{port}} ssh2",
        "? ({{ipv4}}) at {{mac}} [ether] on eth0",
        "\x1b[2J\x1b[H$ cat id_rsa\r\n{{key}}\r\n",
        "> Authorization: Bearer \x1b[35m{{jwt}}\x1b[39m",
        "Downloaded \x1b[32m{{package}}\x1b[0m in {{float}} ms (checksum {{sha256}})",
        "systemd[1]: Started Session {{small}} of user root. boot={{md5}} monotonic={{float}}",
        "commit {{sha1}}\nDate:   {{iso}}\n\n    bump to {{semver}}, closes {{small}}\n",
        "GET /search?q={{email}}&page={{small}}&t={{epoch}}",
        "block {{id9}} paid {{bitcoin}} fee 0.0001",
    ],
)

# Nothing in these is sensitive.
INNOCENT = (
    [
        "Order {{order}} was shipped on {{day}}.", "order_id={{order}} status={{word}}", "Invoice {{id9}} is due by {{day_us}}.", "Ticket #{{id9}} has been merged into #{{id9}}.",
        "Commit {{sha1}} broke the build.", "The request id is {{uuid}}.", "Released {{semver}} on {{day}}, follows {{semver}}.", "Firmware {{version4}} is out.",
        "ISBN {{isbn13}}, second edition", "ISBN-10: {{isbn10}}", "measured {{float}}, expected {{float}}", "background: {{colour}}; border-color: {{colour}};",
        "data:image/png;base64,{{blob}}", "next page: {{cursor}}", "{{certificate}}", "expires at {{epoch}} ({{iso}})", "t={{epoch_ms}}", "Tracking number {{parcel}} (UPS)",
        "install {{package}} and {{package}}", "store at {{coordinate}}", "free memory: {{id11}} bytes of {{id11}}", "segfault at {{hex_address}} ip {{hex_address}}",
        "sha256:{{sha256}}", "took {{duration}}, {{small}} rows, cost=0.00..{{money}} rows={{small}}", "Part {{sku}} replaced by {{sku}}", "p-value {{exponent}}",
        "Meeting moved from {{day_eu}} to {{day_eu}}.", "row {{small}}: bytea {{bytea}}", "Account manager will visit on {{day_us}}; budget {{money}} USD.",
        "He passed the port without a stop; the driver waited {{duration}}.", "WAL at {{lsn}}", "The numbers were {{id8}}, {{id9}} and {{id11}}.",
    ],
    [
        "Your order number is {{order}}, thank you!", "ref={{order}};state={{word}}", "Case {{id9}} reopened {{day_us}}.", "PO {{id8}} supersedes PO {{id8}}.",
        "Revert \"{{short_sha}}\" and cherry-pick {{sha1}}.", "correlation-id: {{uuid}}", "Upgrade from {{semver}} to {{semver}} is supported.", "Browser build {{version4}} crashed.",
        "See {{isbn13}} in the catalogue.", "Book {{isbn10}} is on loan.", "mean={{float}} stddev={{float}}", "fill=\"{{colour}}\" stroke=\"{{colour}}\"",
        "payload: {{blob}}", "cursor={{cursor}}", "{{public_key}}", "nbf {{epoch}} exp {{epoch}}", "at {{epoch_ms}} the queue held {{small}} items", "Parcel {{parcel}} left the depot.",
        "resolved {{package}} from lockfile", "lat/lon {{coordinate}}", "sequence {{id11}} follows {{id11}}", "mapped {{hex_address}}-{{hex_address}}",
        "etag: \"{{md5}}\"", "p95 {{float}} ms over {{duration}}", "SKU {{sku}} x {{small}} = {{money}}", "loss {{exponent}} after {{small}} steps",
        "Contract runs {{day}} until {{day}}.", "blob {{bytea}} written", "The security review is on {{day_eu}}; social event at {{duration}}.",
        "Call the function {{small}} times, then phone home with id {{uuid}}.", "span {{ulid}} parent {{ulid}}", "Batch {{id9}} contains {{id8}} units, lot {{id11}}.",
    ],
)
