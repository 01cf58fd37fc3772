//! Values to bind, one by one and column by column.
//!
//! Owns: the kinds of value that both engines know. Knows no statement.

use uuid::Uuid;

/// A value to bind.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Uuid(Uuid),
    OptUuid(Option<Uuid>),
    Bytes(Vec<u8>),
    OptBytes(Option<Vec<u8>>),
    Int(i64),
    OptInt(Option<i64>),
    Text(String),
    OptText(Option<String>),
}

macro_rules! arg_from {
    ($($from:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$from> for Arg {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}

arg_from! {
    Uuid => Uuid,
    Option<Uuid> => OptUuid,
    Vec<u8> => Bytes,
    [u8; 32] => Bytes,
    &[u8] => Bytes,
    Option<Vec<u8>> => OptBytes,
    i64 => Int,
    u32 => Int,
    Option<i64> => OptInt,
    String => Text,
    &str => Text,
    Option<String> => OptText,
}

macro_rules! arg_from_id {
    ($($id:ident),+) => {$(
        impl From<crate::ids::$id> for Arg {
            fn from(value: crate::ids::$id) -> Self {
                Self::Uuid(value.0)
            }
        }
        impl From<Option<crate::ids::$id>> for Arg {
            fn from(value: Option<crate::ids::$id>) -> Self {
                Self::OptUuid(value.map(|id| id.0))
            }
        }
    )+};
}

arg_from_id!(
    TenantId,
    DeviceId,
    EnrollmentId,
    CommandId,
    GrantId,
    CertificateId,
    CaId,
    LinkId,
    ProfileId
);

/// `args![a, b, c]`: a list of values to bind, each converted.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::Arg::from($value)),*] };
}
pub(crate) use args;

/// One column of a `WITH` table.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    Uuid(Vec<Uuid>),
    OptUuid(Vec<Option<Uuid>>),
    Bytes(Vec<Vec<u8>>),
    OptBytes(Vec<Option<Vec<u8>>>),
    Int(Vec<i64>),
    OptInt(Vec<Option<i64>>),
    Text(Vec<String>),
    OptText(Vec<Option<String>>),
}

impl Column {
    pub(super) fn pg_type(&self) -> &'static str {
        match self {
            Self::Uuid(_) | Self::OptUuid(_) => "uuid",
            Self::Bytes(_) | Self::OptBytes(_) => "bytea",
            Self::Int(_) | Self::OptInt(_) => "bigint",
            Self::Text(_) | Self::OptText(_) => "text",
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Uuid(v) => v.len(),
            Self::OptUuid(v) => v.len(),
            Self::Bytes(v) => v.len(),
            Self::OptBytes(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::OptInt(v) => v.len(),
            Self::Text(v) => v.len(),
            Self::OptText(v) => v.len(),
        }
    }

    pub(super) fn take(&mut self, row: usize) -> Arg {
        fn at<T: Default>(list: &mut [T], row: usize) -> T {
            list.get_mut(row).map(std::mem::take).unwrap_or_default()
        }
        match self {
            Self::Uuid(v) => Arg::Uuid(at(v, row)),
            Self::OptUuid(v) => Arg::OptUuid(at(v, row)),
            Self::Bytes(v) => Arg::Bytes(at(v, row)),
            Self::OptBytes(v) => Arg::OptBytes(at(v, row)),
            Self::Int(v) => Arg::Int(at(v, row)),
            Self::OptInt(v) => Arg::OptInt(at(v, row)),
            Self::Text(v) => Arg::Text(at(v, row)),
            Self::OptText(v) => Arg::OptText(at(v, row)),
        }
    }
}

/// The rows that a statement refers to as `i`, column by column.
pub(crate) type Rows = Vec<(&'static str, Column)>;

pub(super) fn height(rows: &Rows) -> usize {
    rows.first().map(|(_, column)| column.len()).unwrap_or(0)
}

pub(super) fn heading(rows: &Rows) -> String {
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
