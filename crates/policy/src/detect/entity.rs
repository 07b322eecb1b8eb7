//! The kinds of sensitive values, and sets of them.

macro_rules! entities {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a detector finds. Each name is also that of a data class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Entity {
            $($(#[$doc])* $variant,)*
        }

        impl Entity {
            /// Every entity, the more specific first.
            pub const ALL: &[Entity] = &[$(Entity::$variant,)*];

            /// The kebab-case name people write in `detect = [...]`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Entity::$variant => $name,)*
                }
            }

            /// The entity of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|entity| entity.name() == name)
            }
        }
    };
}

entities! {
    /// An address of electronic mail.
    Email = "email",
    /// A telephone number.
    Phone = "phone",
    /// The number of a payment card.
    Card = "card",
    /// An international bank account number.
    Iban = "iban",
    /// A social security number of the United States.
    UsSsn = "us-ssn",
    /// An individual taxpayer identification number of the United States.
    UsItin = "us-itin",
    /// The number of a passport of the United States.
    UsPassport = "us-passport",
    /// The number of a driver's license of one of the United States.
    UsDriverLicense = "us-driver-license",
    /// An account number of a bank in the United States.
    UsBankNumber = "us-bank-number",
    /// A patient's number in the British health service.
    UkNhs = "uk-nhs",
    /// A Spanish tax number.
    EsNif = "es-nif",
    /// A foreigner's number in Spain.
    EsNie = "es-nie",
    /// An Italian fiscal code.
    ItFiscalCode = "it-fiscal-code",
    /// The number of an Italian driving licence.
    ItDriverLicense = "it-driver-license",
    /// An Italian VAT code.
    ItVatCode = "it-vat-code",
    /// The number of an Italian passport.
    ItPassport = "it-passport",
    /// The number of an Italian identity card.
    ItIdentityCard = "it-identity-card",
    /// A person's number in the Polish population register.
    PlPesel = "pl-pesel",
    /// A prescriber's registration with the American Drug Enforcement Administration.
    MedicalLicense = "medical-license",
    /// An internet address, version 4 or 6.
    IpAddress = "ip-address",
    /// A hardware address.
    MacAddress = "mac-address",
    /// A date that is said to be one of birth.
    DateOfBirth = "date-of-birth",
    /// The number of a passport of any country, or its machine-readable lines.
    Passport = "passport",
    /// An address of a crypto currency.
    CryptoAddress = "crypto-address",
    /// A JSON web token.
    Jwt = "jwt",
    /// A private key.
    PrivateKey = "private-key",
    /// A password, token or key of a known provider.
    Credential = "credential",
}

impl Entity {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Entities as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entities(pub(super) u32);

impl Entities {
    pub(super) fn of(entities: &[Entity]) -> Self {
        Self(entities.iter().fold(0, |bits, entity| bits | entity.bit()))
    }

    #[inline(always)]
    pub(super) fn has(self, entity: Entity) -> bool {
        self.0 & entity.bit() != 0
    }

    #[inline(always)]
    pub(super) fn any(self, of: u32) -> bool {
        self.0 & of != 0
    }
}
