//! Request ids.

/// What a request is called in logs on all its way: 32 hexadecimal digits, or what a trusted peer
/// said.
pub(super) struct RequestId {
    bytes: [u8; Self::MOST],
    len: u8,
}

impl RequestId {
    /// The longest id that is taken over from a trusted peer.
    const MOST: usize = 64;

    pub(super) fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; Self::MOST];
        let random = fastrand::u128(..);
        for (i, byte) in bytes[..32].iter_mut().enumerate() {
            *byte = DIGITS[(random >> (i * 4)) as usize & 15];
        }
        Self { bytes, len: 32 }
    }

    pub(super) fn given(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MOST];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        (!id.is_empty()).then_some(Self {
            bytes,
            len: id.len() as u8,
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_hexadecimal_digits_and_differ() {
        let (a, b) = (RequestId::random(), RequestId::random());
        assert_ne!(a.as_bytes(), b.as_bytes());
        assert_eq!(a.as_bytes().len(), 32);
        assert!(a.as_bytes().iter().all(u8::is_ascii_hexdigit));
    }

    #[test]
    fn an_id_of_a_trusted_peer_is_taken_over_unless_it_is_empty_or_too_long() {
        assert_eq!(RequestId::given(b"abc").unwrap().as_bytes(), b"abc");
        assert!(RequestId::given(b"").is_none());
        assert!(RequestId::given(&[b'a'; 64]).is_some());
        assert!(RequestId::given(&[b'a'; 65]).is_none());
    }
}
