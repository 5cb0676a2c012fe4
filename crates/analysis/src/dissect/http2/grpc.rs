//! Messages of gRPC in the DATA frames of a stream: each behind a flag and a length (gRPC over HTTP/2, "Length-Prefixed-Message").

use crate::dissect::{Field, Layer, Message};

/// The flag and the length.
const PREFIX: usize = 5;
/// Most messages of one frame that are told.
const MAX_TOLD: usize = 16;

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A prefix that is not complete.
    prefix: Vec<u8>,
    /// A message that is still coming: compressed or not, its length, and how much of it is to come.
    open: Option<(bool, u32, u64)>,
    /// What is complete and not told yet.
    done: Vec<(bool, u32)>,
}

impl Messages {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (compressed, len, left) = match self.open {
                Some(open) => open,
                None => {
                    let n = (PREFIX - self.prefix.len()).min(bytes.len());
                    self.prefix.extend_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    let [flag, a, b, c, d] = self.prefix[..] else { return };
                    self.prefix.clear();
                    let len = u32::from_be_bytes([a, b, c, d]);
                    (flag & 1 == 1, len, u64::from(len))
                }
            };
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[n..];
            let left = left - n as u64; // widening
            self.open = (left > 0).then_some((compressed, len, left));
            if left == 0 && self.done.len() < MAX_TOLD {
                self.done.push((compressed, len));
            }
        }
    }

    /// Messages that are complete, told once.
    pub(super) fn told(&mut self) -> impl Iterator<Item = Layer> {
        std::mem::take(&mut self.done).into_iter().map(|(compressed, len)| {
            let word = if compressed { "compressed message" } else { "message" };
            let bytes = usize::try_from(len).unwrap_or(usize::MAX);
            let fields = vec![
                Field::new("grpc.compressed_flag", u8::from(compressed)).at(0, 1),
                Field::new("grpc.message_length", len).at(1, PREFIX),
            ];
            let layer =
                Layer::new("GRPC", format!("{word} {len} B"), bytes.saturating_add(PREFIX), Message::Other);
            layer.own(PREFIX).with(fields)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Messages;

    #[test]
    fn messages_are_told_at_the_frame_that_completes_them_however_they_are_cut() {
        let mut bytes = vec![0, 0, 0, 0, 4, 8, 20, 8, 22, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0];
        bytes.extend([7; 256]);
        for cut in [1, 2, 5, 6, 64, 1000] {
            let mut messages = Messages::default();
            bytes.chunks(cut).for_each(|part| messages.feed(part));
            let told: Vec<String> = messages.told().map(|layer| layer.summary).collect();
            assert_eq!(told, ["message 4 B", "message 0 B", "compressed message 256 B"], "{cut}");
            assert_eq!(messages.told().count(), 0);
        }
    }

    #[test]
    fn a_length_without_its_message_is_nothing_yet() {
        let mut messages = Messages::default();
        messages.feed(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(messages.told().count(), 0);
    }
}
