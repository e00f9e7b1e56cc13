//! The little that a link must know of the packets it carries.

const TCP: u8 = 6;

/// True for a TCP packet with content (IPv4 without fragmentation, IPv6 without extension headers).
pub(super) fn has_tcp_content(packet: &[u8]) -> bool {
    let payload = match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4_tcp(packet),
        Some(6) => ipv6_tcp(packet),
        _ => None,
    };
    let Some(tcp) = payload else { return false };
    // Data offset: upper four bits of byte 12, in words.
    tcp.get(12)
        .is_some_and(|byte| tcp.len() > usize::from(byte >> 4) * 4)
}

fn ipv4_tcp(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let later_fragment = (packet.get(6)? & 0x1f, *packet.get(7)?) != (0, 0);
    if *packet.get(9)? != TCP || later_fragment {
        return None;
    }
    packet.get(header..total)
}

fn ipv6_tcp(packet: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    if *packet.get(6)? != TCP {
        return None;
    }
    packet.get(40..40 + length)
}

/// Sets "congestion experienced" on an ECN-capable packet; false if it is not capable or has it already.
///
/// Source: RFC 3168 §5; the IPv4 header checksum is updated as in RFC 1624.
pub(super) fn mark_ce(packet: &mut [u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= 20 => {
            if !matches!(packet[1] & 3, 1 | 2) {
                return false;
            }
            let old = u16::from_be_bytes([packet[0], packet[1]]);
            packet[1] |= 3;
            let new = u16::from_be_bytes([packet[0], packet[1]]);
            let checksum = u16::from_be_bytes([packet[10], packet[11]]);
            // HC' = ~(~HC + ~m + m')
            let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            true
        }
        // The codepoint is bits 4 and 5 of the second byte.
        Some(6) if packet.len() >= 40 => {
            let capable = matches!((packet[1] >> 4) & 3, 1 | 2);
            if capable {
                packet[1] |= 0x30;
            }
            capable
        }
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An IPv4 packet with a TCP header of 20 bytes and `content` bytes behind it; its checksum is right.
    pub(crate) fn tcp_v4(content: usize) -> Vec<u8> {
        let mut packet = vec![0; 40 + content];
        let length = (packet.len() as u16).to_be_bytes();
        packet[..10].copy_from_slice(&[0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, TCP]);
        packet[12..20].copy_from_slice(&[10, 1, 0, 1, 10, 1, 0, 2]);
        packet[32] = 5 << 4;
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    pub(crate) fn udp_v4() -> Vec<u8> {
        let mut packet = tcp_v4(100);
        packet[9] = 17;
        packet
    }

    fn tcp_v6(content: usize) -> Vec<u8> {
        let mut packet = vec![0; 60 + content];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(20 + content as u16).to_be_bytes());
        packet[6] = TCP;
        packet[52] = 5 << 4;
        packet
    }

    fn checksum(header: &[u8]) -> u16 {
        let sum: u32 = header
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !(((sum & 0xffff) + (sum >> 16)) as u16)
    }

    #[test]
    fn content_is_seen_in_both_families() {
        for (packet, expected) in [
            (tcp_v4(0), false),
            (tcp_v4(1), true),
            (tcp_v6(0), false),
            (tcp_v6(1), true),
            (udp_v4(), false),
        ] {
            assert_eq!(has_tcp_content(&packet), expected, "{packet:?}");
        }
        // Options are not content.
        let mut options = tcp_v4(12);
        options[32] = 8 << 4;
        assert!(!has_tcp_content(&options));
    }

    #[test]
    fn cut_packets_and_rubbish_have_no_content() {
        for whole in [tcp_v4(10), tcp_v6(10)] {
            for length in 0..whole.len() {
                assert!(!has_tcp_content(&whole[..length]), "{length}");
            }
        }
        assert!(!has_tcp_content(&[0xff; 100]));
    }

    #[test]
    fn marking_keeps_the_checksum_right() {
        for codepoint in 0..4 {
            let mut packet = tcp_v4(10);
            packet[1] = 0xb8 | codepoint;
            packet[10..12].fill(0);
            let sum = checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            let capable = matches!(codepoint, 1 | 2);
            assert_eq!(mark_ce(&mut packet), capable);
            assert_eq!(packet[1], 0xb8 | if capable { 3 } else { codepoint });
            assert_eq!(
                checksum(&packet[..20]),
                0,
                "the sum over a good header is 0"
            );

            let mut packet = tcp_v6(10);
            packet[1] = codepoint << 4 | 0x0f;
            assert_eq!(mark_ce(&mut packet), capable);
            assert_eq!(packet[1] >> 4, if capable { 3 } else { codepoint });
            assert_eq!(packet[1] & 15, 15);
        }
        assert!(!mark_ce(&mut [0x45, 2]));
    }
}
