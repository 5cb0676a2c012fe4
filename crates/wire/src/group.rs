//! What IGMPv3 and MLDv2 have in common: what their queries ask beyond older ones (RFC 3376 §4.1, RFC 3810 §5.1), and
//! the group records of reports (RFC 3376 §4.2.4, RFC 3810 §5.2.5), the same but for the size of an address.

use crate::ParseError;
use crate::field::{array, need, put, put_u16, u16_at};
use core::net::{Ipv4Addr, Ipv6Addr};

/// What a query with sources has beyond an older one: the four bytes before the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceQuery {
    /// S: routers, suppress your timer updates.
    pub suppress: bool,
    /// QRV, 0 to 7.
    pub robustness: u8,
    /// QQIC as coded.
    pub interval_code: u8,
    /// Number of source addresses that follow.
    pub sources: u16,
}

impl SourceQuery {
    /// Reads it at offset `at`; `None` when the message ends before its end, as an older one does.
    pub(crate) fn parse(b: &[u8], at: usize) -> Option<SourceQuery> {
        let b = b.get(at..at + 4)?;
        Some(SourceQuery {
            suppress: b[0] & 8 != 0,
            robustness: b[0] & 7,
            interval_code: b[1],
            sources: u16_at(b, 2),
        })
    }

    /// Writes it at offset `at`.
    pub(crate) fn emit(&self, b: &mut [u8], at: usize) {
        b[at] = (u8::from(self.suppress) << 3) | (self.robustness & 7);
        b[at + 1] = self.interval_code;
        put_u16(b, at + 2, self.sources);
    }
}

/// What a record says about the filter of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKind(pub u8);

impl RecordKind {
    /// MODE_IS_INCLUDE
    pub const IS_INCLUDE: RecordKind = RecordKind(1);
    /// MODE_IS_EXCLUDE
    pub const IS_EXCLUDE: RecordKind = RecordKind(2);
    /// CHANGE_TO_INCLUDE_MODE: with no sources, the group is left.
    pub const TO_INCLUDE: RecordKind = RecordKind(3);
    /// CHANGE_TO_EXCLUDE_MODE: with no sources, the group is joined.
    pub const TO_EXCLUDE: RecordKind = RecordKind(4);
    /// ALLOW_NEW_SOURCES
    pub const ALLOW: RecordKind = RecordKind(5);
    /// BLOCK_OLD_SOURCES
    pub const BLOCK: RecordKind = RecordKind(6);
}

/// An IGMPv3 record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgmpRecord<'a> {
    /// What it says.
    pub kind: RecordKind,
    /// About which group.
    pub group: Ipv4Addr,
    /// Source addresses.
    pub sources: &'a [[u8; 4]],
}

/// An MLDv2 record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MldRecord<'a> {
    /// What it says.
    pub kind: RecordKind,
    /// About which group.
    pub group: Ipv6Addr,
    /// Source addresses.
    pub sources: &'a [[u8; 16]],
}

/// The parts of a record with `N`-byte addresses, and its whole length.
struct Raw<'a, const N: usize> {
    kind: RecordKind,
    group: [u8; N],
    sources: &'a [[u8; N]],
    len: usize,
}

fn raw<const N: usize>(b: &[u8]) -> Result<Raw<'_, N>, ParseError> {
    need("group record", b, 4 + N)?;
    let sources = usize::from(u16_at(b, 2)) * N;
    let len = 4 + N + sources + usize::from(b[1]) * 4;
    need("group record", b, len)?;
    let (sources, _) = b[4 + N..4 + N + sources].as_chunks::<N>();
    Ok(Raw { kind: RecordKind(b[0]), group: array(b, 4), sources, len })
}

fn emit_raw<const N: usize>(b: &mut [u8], kind: RecordKind, group: &[u8; N], sources: &[[u8; N]]) {
    b[0] = kind.0;
    b[1] = 0;
    put_u16(b, 2, u16::try_from(sources.len()).expect("sources fit one packet"));
    put(b, 4, group);
    put(b, 4 + N, sources.as_flattened());
}

impl IgmpRecord<'_> {
    /// Bytes [`IgmpRecord::emit`] writes.
    pub const fn header_len(&self) -> usize {
        8 + 4 * self.sources.len()
    }

    /// Writes the record, without auxiliary data. Panics when `b` is shorter than it.
    pub fn emit(&self, b: &mut [u8]) {
        emit_raw(b, self.kind, &self.group.octets(), self.sources);
    }
}

impl MldRecord<'_> {
    /// Bytes [`MldRecord::emit`] writes.
    pub const fn header_len(&self) -> usize {
        20 + 16 * self.sources.len()
    }

    /// Writes the record, without auxiliary data. Panics when `b` is shorter than it.
    pub fn emit(&self, b: &mut [u8]) {
        emit_raw(b, self.kind, &self.group.octets(), self.sources);
    }
}

/// Reads the records of an IGMPv3 report, the bytes after its 8-byte header.
pub const fn igmp_records(bytes: &[u8], records: u16) -> IgmpRecordIter<'_> {
    IgmpRecordIter { bytes, left: records }
}

/// Reads the records of an MLDv2 report, the bytes after its 8-byte header.
pub const fn mld_records(bytes: &[u8], records: u16) -> MldRecordIter<'_> {
    MldRecordIter { bytes, left: records }
}

/// Reads records one by one; stops after the first that does not fit.
#[derive(Clone, Debug)]
pub struct IgmpRecordIter<'a> {
    bytes: &'a [u8],
    left: u16,
}

/// Reads records one by one; stops after the first that does not fit.
#[derive(Clone, Debug)]
pub struct MldRecordIter<'a> {
    bytes: &'a [u8],
    left: u16,
}

/// The next of `left` records in `bytes`, advancing both.
fn next_raw<'a, const N: usize>(
    bytes: &mut &'a [u8],
    left: &mut u16,
) -> Option<Result<Raw<'a, N>, ParseError>> {
    *left = left.checked_sub(1)?;
    let record = raw(bytes);
    match &record {
        Ok(r) => *bytes = &bytes[r.len..],
        Err(_) => *left = 0,
    }
    Some(record)
}

impl<'a> Iterator for IgmpRecordIter<'a> {
    type Item = Result<IgmpRecord<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        let record = next_raw::<4>(&mut self.bytes, &mut self.left)?;
        Some(record.map(|r| IgmpRecord { kind: r.kind, group: r.group.into(), sources: r.sources }))
    }
}

impl<'a> Iterator for MldRecordIter<'a> {
    type Item = Result<MldRecord<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        let record = next_raw::<16>(&mut self.bytes, &mut self.left)?;
        Some(record.map(|r| MldRecord { kind: r.kind, group: r.group.into(), sources: r.sources }))
    }
}
