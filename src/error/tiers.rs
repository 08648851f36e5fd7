//! Errors of named tiers.

use super::QuotaError;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// An error for a name that no tier has: it holds that name and the names of the tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTier {
    name: String,
    known: Vec<String>,
}

impl UnknownTier {
    pub(crate) fn new<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self { name: name.to_owned(), known: known.map(ToOwned::to_owned).collect() }
    }

    /// Returns the name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of the tiers.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }
}

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no tier {:?}; there are: {}", self.name, self.known.join(", "))
    }
}

impl core::error::Error for UnknownTier {}

/// An error in the construction of tiers, or in a change of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TiersError {
    /// No tier is named.
    None,
    /// A tier's name is empty.
    EmptyName,
    /// Two tiers have this name.
    Duplicate(String),
    /// No tier has this name.
    Unknown(UnknownTier),
    /// A tier's quota or capacity is not permitted.
    Quota {
        /// The tier's name.
        tier: String,
        /// The error in its quota or capacity.
        error: QuotaError,
    },
}

impl fmt::Display for TiersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("there must be at least one tier"),
            Self::EmptyName => f.write_str("a tier's name must not be empty"),
            Self::Duplicate(name) => write!(f, "two tiers are named {name:?}"),
            Self::Unknown(unknown) => unknown.fmt(f),
            Self::Quota { tier, error } => write!(f, "tier {tier:?}: {error}"),
        }
    }
}

impl core::error::Error for TiersError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Unknown(unknown) => Some(unknown),
            Self::Quota { error, .. } => Some(error),
            Self::None | Self::EmptyName | Self::Duplicate(_) => None,
        }
    }
}
