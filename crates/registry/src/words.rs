//! Enums whose values are words in the database, in JSON and on the screen: one list says all three.

/// Declares a public enum with a word per value, and its `as_str`, `Display` and `FromStr`.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$value_about:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$value_about])* #[serde(rename = $word)] $value,)+
        }

        impl $name {
            /// The word, in capitals.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // Honours a width, for tables.
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = error::Error;

            fn from_str(text: &str) -> error::Result<Self> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err(error::Error::new(
                        error::Code::Internal,
                        format!("{text:?} is none of {}", [$($word),+].join(", ")),
                    )),
                }
            }
        }

        impl From<$name> for crate::statement::Value {
            fn from(word: $name) -> Self {
                Self::Text(Some(word.as_str().to_owned()))
            }
        }
    };
}

pub(crate) use words;
