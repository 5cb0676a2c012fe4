//! What a sender is told afterwards, by the socket's error queue: that zero-copy memory is free again
//! (`MSG_ZEROCOPY`), and when its bytes left and were acknowledged (`SO_TIMESTAMPING`).
//!
//! Linux: net/core/skbuff.c `msg_zerocopy_realloc`, `__msg_zerocopy_callback`, `skb_zerocopy_notify_extend`,
//! `__skb_tstamp_tx`; tcp.c `tcp_tx_timestamp`; tcp_input.c `tcp_ack_tstamp`; net/core/sock.c `sock_set_timestamping`.

use std::collections::VecDeque;

use wire::Bytes;
use wire::tcp::SeqNum;

use super::cx::Cx;
use super::tcb::{State, Tcb};
use crate::icmp::IcmpReport;
use crate::socket::{ORIGIN_ICMP, ORIGIN_ICMP6, ORIGIN_TIMESTAMPING, ORIGIN_ZEROCOPY, QueuedError};
use crate::{Errno, KernelProfile};

/// `SO_EE_CODE_ZEROCOPY_COPIED`: TUN, TAP and lo keep packets, so that the memory was copied after all
/// (`skb_orphan_frags_rx`).
const COPIED: u8 = 1;
/// `BYTE_LIMIT` of `msg_zerocopy_realloc`.
const BYTE_LIMIT: usize = 512 * 1024;
/// `MAX_SKB_FRAGS`
const MAX_FRAGS: u32 = 17;
/// Bytes of a page, and where memory from `malloc` usually begins in one.
const PAGE: usize = 4096;
const MALLOC_OFFSET: usize = 16;
/// Reports that wait to be read; the memory for more would count against the socket (`sock_omalloc`).
const MAX_ERRORS: usize = 256;

/// `SOF_TIMESTAMPING_*`
pub(crate) mod sof {
    pub(crate) const TX_SOFTWARE: u32 = 1 << 1;
    pub(crate) const SOFTWARE: u32 = 1 << 4;
    pub(crate) const OPT_ID: u32 = 1 << 7;
    pub(crate) const TX_SCHED: u32 = 1 << 8;
    pub(crate) const TX_ACK: u32 = 1 << 9;
    pub(crate) const OPT_TSONLY: u32 = 1 << 11;
    pub(crate) const OPT_STATS: u32 = 1 << 12;
    pub(crate) const OPT_ID_TCP: u32 = 1 << 16;
    /// All that the measured kernel knows.
    pub(crate) const MASK: u32 = (1 << 19) - 1;
}

/// `SCM_TSTAMP_SND`, `SCM_TSTAMP_SCHED`, `SCM_TSTAMP_ACK`
const SND: u32 = 0;
const SCHED: u32 = 1;
const ACK: u32 = 2;

/// The memory of one or several calls (`struct ubuf_info_msgzc`).
#[derive(Clone, Debug)]
struct Pinned {
    /// Number of the first call, and how many they are.
    id: u32,
    calls: u32,
    bytes: usize,
    /// After its last byte.
    end: SeqNum,
    /// The call goes on.
    open: bool,
}

/// A sender's wishes and what is still to be reported; only sockets that asked have one.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// `SO_ZEROCOPY`
    pub(crate) zerocopy: bool,
    /// `sk_zckey`
    next_id: u32,
    pinned: VecDeque<Pinned>,
    /// Pieces of the message of the zero-copy call under way; empty otherwise.
    pieces: Vec<usize>,
    /// Pieces of pages in the last unsent entry, which begins there.
    frags: (SeqNum, u32),
    /// `sk_tsflags`, and what keys count from (`sk_tskey`).
    pub(crate) flags: u32,
    key_base: SeqNum,
    /// Bytes whose fate interests, with the flags of their calls and what was last sent around them.
    stamps: VecDeque<(SeqNum, u32, Bytes)>,
    /// `sk_error_queue`
    pub(crate) errors: VecDeque<QueuedError>,
}

impl Tcb {
    fn notes_mut(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// What a connection takes over from its socket or listener.
    pub(crate) fn adopt_notes(&mut self, zerocopy: bool, flags: u32) {
        self.set_zerocopy(zerocopy);
        if flags != 0 {
            let base = self.snd.write_seq;
            let notes = self.notes_mut();
            notes.flags = flags;
            notes.key_base = base;
        }
    }

    /// `SO_ZEROCOPY`
    pub(crate) fn set_zerocopy(&mut self, on: bool) {
        if on || self.notes.is_some() {
            self.notes_mut().zerocopy = on;
        }
    }

    /// `sock_set_timestamping` for a connection; the caller checked the flags.
    pub(crate) fn set_timestamping(&mut self, flags: u32) -> Result<(), Errno> {
        let had = self.notes.as_ref().map_or(0, |n| n.flags);
        let mut base = self.notes.as_ref().map_or(SeqNum(0), |n| n.key_base);
        if flags & sof::OPT_ID != 0 && had & sof::OPT_ID == 0 {
            if self.state == State::Close {
                return Err(Errno::EINVAL);
            }
            base = if flags & sof::OPT_ID_TCP != 0 { self.snd.write_seq } else { self.snd.una };
        }
        let notes = self.notes_mut();
        notes.key_base = base;
        notes.flags = flags;
        Ok(())
    }

    /// A call with `MSG_ZEROCOPY` of these pieces begins (`msg_zerocopy_realloc`). `false`: it is an ordinary one.
    pub(crate) fn zerocopy_begin(&mut self, pieces: Vec<usize>) -> bool {
        let (write_seq, tail) = (self.snd.write_seq, self.unsent.back().copied());
        let Some(notes) = self.notes.as_deref_mut().filter(|n| n.zerocopy) else { return false };
        let bytes = pieces.iter().sum::<usize>();
        notes.pieces = pieces;
        for pinned in &mut notes.pinned {
            pinned.open = false;
        }
        let id = notes.next_id;
        notes.next_id = id.wrapping_add(1);
        // The last unsent entry still points to the memory of the call before.
        if let (Some(last), Some(tail)) = (notes.pinned.back_mut(), tail)
            && last.end == write_seq
            && tail.len() > 0
            && last.id.wrapping_add(last.calls) == id
            && last.calls < u32::from(u16::MAX) - 1
            && last.bytes + bytes <= BYTE_LIMIT
        {
            last.calls += 1;
            last.bytes += bytes;
            last.open = true;
        } else {
            notes.pinned.push_back(Pinned { id, calls: 1, bytes, end: write_seq, open: true });
        }
        true
    }

    /// How many of the next `want` bytes from `at` on go into the last unsent entry, in pieces of pages; 0: none, it
    /// needs a new one (`skb_zerocopy_iter_stream`: `EMSGSIZE`, `EEXIST`).
    pub(super) fn zerocopy_room(&mut self, at: usize, want: usize) -> usize {
        let Some(tail) = self.unsent.back().copied() else { return 0 };
        let Some(notes) = self.notes.as_deref_mut() else { return 0 };
        if notes.frags.0 != tail.seq {
            // What an ordinary write put there stands in one piece.
            notes.frags = (tail.seq, u32::from(tail.len() > 0));
        }
        let (mut skip, mut sum) = (at, 0);
        for piece in &notes.pieces {
            if skip >= *piece {
                skip -= piece;
                continue;
            }
            while skip < *piece && sum < want {
                if notes.frags.1 == MAX_FRAGS {
                    return sum;
                }
                notes.frags.1 += 1;
                let in_page = PAGE - (MALLOC_OFFSET + skip) % PAGE;
                let take = in_page.min(piece - skip).min(want - sum);
                sum += take;
                skip += take;
            }
            skip = 0;
            if sum == want {
                break;
            }
        }
        sum
    }

    /// Bytes of the call under way were queued.
    pub(super) fn zerocopy_queued(&mut self) {
        let end = self.snd.write_seq;
        if let Some(last) = self.notes.as_deref_mut().and_then(|n| n.pinned.back_mut()) {
            last.end = end;
        }
    }

    /// Whether the call under way is a zero-copy one.
    pub(crate) fn zerocopy_sends(&self) -> bool {
        self.notes.as_ref().is_some_and(|n| !n.pieces.is_empty())
    }

    /// The call is over (`net_zcopy_put`), or came to nothing (`net_zcopy_put_abort`).
    pub(crate) fn zerocopy_end(&mut self, cx: &mut Cx<'_>, taken: bool) {
        let Some(notes) = self.notes.as_deref_mut() else { return };
        notes.pieces.clear();
        if let Some(last) = notes.pinned.back_mut().filter(|p| p.open) {
            last.open = false;
            if !taken {
                notes.next_id = notes.next_id.wrapping_sub(1);
                last.calls -= 1;
                if last.calls == 0 {
                    notes.pinned.pop_back();
                }
            }
        }
        self.notes_acked(cx);
    }

    /// Data went into a SYN: the call's memory is free when it is acknowledged.
    pub(crate) fn zerocopy_in_syn(&mut self, cx: &mut Cx<'_>, bytes: usize) {
        let end = self.snd.iss + 1 + u32::try_from(bytes).expect("a segment");
        if let Some(last) = self.notes.as_deref_mut().and_then(|n| n.pinned.back_mut()) {
            last.end = end;
        }
        self.zerocopy_end(cx, true);
    }

    /// `tcp_tx_timestamp`: the last byte of the call interests.
    pub(crate) fn stamp_call(&mut self) {
        let Some(tail) = self.unsent.back().copied() else { return };
        let Some(notes) = self.notes.as_deref_mut() else { return };
        let wanted = notes.flags & (sof::TX_SOFTWARE | sof::TX_SCHED | sof::TX_ACK);
        if wanted != 0 && tail.len() > 0 {
            // An entry has one key: the newest.
            notes.stamps.retain(|(key, ..)| key.before(tail.seq));
            notes.stamps.push_back((tail.seq + (tail.len() - 1), wanted, Bytes::new()));
        }
    }

    /// An entry leaves: the queueing discipline and the driver report it.
    pub(super) fn notes_sent(&mut self, cx: &mut Cx<'_>, seq: SeqNum, payload: &Bytes) {
        let end = seq + u32::try_from(payload.len()).expect("a segment");
        let Some(notes) = self.notes.as_deref_mut() else { return };
        for n in 0..notes.stamps.len() {
            let (key, flags, last) = &mut notes.stamps[n];
            if key.before(seq) || !key.before(end) {
                continue;
            }
            *last = payload.clone();
            let (key, flags) = (*key, *flags);
            for (wish, what) in [(sof::TX_SCHED, SCHED), (sof::TX_SOFTWARE, SND)] {
                if flags & wish != 0 {
                    notes.report_stamp(cx, what, key, payload);
                }
            }
        }
    }

    /// `snd.una` moved: `tcp_ack_tstamp`, and memory that nobody needs any more.
    pub(super) fn notes_acked(&mut self, cx: &mut Cx<'_>) {
        let una = self.snd.una;
        let Some(notes) = self.notes.as_deref_mut() else { return };
        while let Some((key, flags, payload)) = notes.stamps.pop_front_if(|(key, ..)| key.before(una)) {
            if flags & sof::TX_ACK != 0 {
                notes.report_stamp(cx, ACK, key, &payload);
            }
        }
        let free = |p: &&Pinned| !p.open && !p.end.after(una);
        while let Some(done) = notes.pinned.front().filter(free).cloned() {
            notes.pinned.pop_front();
            notes.report_copied(cx, &done);
        }
    }

    /// `ip_icmp_error` for an attempt to connect (5.9, for `traceroute -T` without privileges); `quoted` starts at our
    /// segment's header.
    pub(crate) fn queue_icmp(&mut self, cx: &mut Cx<'_>, report: &IcmpReport, quoted: &[u8]) {
        if !matches!(self.state, State::SynSent | State::SynRecv) || cx.profile < KernelProfile::V5_15 {
            return;
        }
        let error = QueuedError {
            errno: report.errno,
            origin: if report.local.is_ipv6() { ORIGIN_ICMP6 } else { ORIGIN_ICMP },
            ty: report.ty,
            code: report.code,
            info: report.info,
            offender: Some(report.offender),
            dst: self.remote,
            payload: Bytes::from(quoted),
            ..blank()
        };
        self.notes_mut().push(cx, error);
    }

    /// The queues were thrown away: all memory is free.
    pub(crate) fn notes_purged(&mut self, cx: &mut Cx<'_>) {
        let Some(notes) = self.notes.as_deref_mut() else { return };
        notes.stamps.clear();
        for done in core::mem::take(&mut notes.pinned) {
            notes.report_copied(cx, &done);
        }
    }
}

impl Notes {
    /// Bytes from `seq` on stand in a caller's memory: entries that point there are not joined (`skb_shift`).
    pub(super) fn pins(&self, seq: SeqNum) -> bool {
        self.pinned.back().is_some_and(|p| p.end.after(seq))
    }

    fn push(&mut self, cx: &mut Cx<'_>, error: QueuedError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push_back(error);
            cx.wake.error = true;
        }
    }

    /// `__msg_zerocopy_callback`: one range with the report before it when they touch.
    fn report_copied(&mut self, cx: &mut Cx<'_>, done: &Pinned) {
        let last = done.id.wrapping_add(done.calls - 1);
        if let Some(tail) = self.errors.back_mut()
            && tail.origin == ORIGIN_ZEROCOPY
            && tail.data.wrapping_add(1) == done.id
        {
            tail.data = last;
            cx.wake.error = true;
            return;
        }
        let error =
            QueuedError { origin: ORIGIN_ZEROCOPY, code: COPIED, info: done.id, data: last, ..blank() };
        self.push(cx, error);
    }

    /// `__skb_complete_tx_timestamp`
    fn report_stamp(&mut self, cx: &mut Cx<'_>, what: u32, key: SeqNum, payload: &Bytes) {
        let data = if self.flags & sof::OPT_ID != 0 { (key - self.key_base) as u32 } else { 0 }; // as on the wire
        let payload = if self.flags & sof::OPT_TSONLY != 0 { Bytes::new() } else { payload.clone() };
        let stamp = (self.flags & sof::SOFTWARE != 0).then_some(cx.now);
        let (errno, origin) = (Errno::ENOMSG, ORIGIN_TIMESTAMPING);
        self.push(cx, QueuedError { errno, origin, info: what, data, payload, stamp, ..blank() });
    }
}

/// An entry of the error queue that is about nobody's packet.
fn blank() -> QueuedError {
    QueuedError {
        errno: Errno(0),
        origin: 0,
        ty: 0,
        code: 0,
        info: 0,
        data: 0,
        offender: None,
        dst: std::net::SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
        payload: Bytes::new(),
        truesize: 0,
        stamp: None,
    }
}
