# What a libccp datapath runs when nobody steers a flow: left without a program it would keep the
# window that it has for ever. Slow start, congestion avoidance, one halving per loss event and one
# segment after a timeout (RFC 5681), without reports.
(def
    (Report (unused 0))
    (segment 1))  # bytes: the largest segment

(when true
    (:= waited left)
    (:= left (- left (min left Ack.bytes_acked)))
    (:= grow Ack.bytes_acked)
    (fallthrough))

(when (&& (|| Flow.was_timeout (> (+ Ack.lost_pkts_sample Ack.ecn_packets) 0)) (== left 0))
    (:= left Cwnd)
    (:= waited Cwnd)
    (:= credit 0)
    (:= threshold (max (/ Cwnd 2) (* 2 segment)))
    (:= Cwnd threshold)
    (fallthrough))

(when Flow.was_timeout
    (:= Cwnd segment)
    (:= slow true)
    (:= grow 0)
    (fallthrough))

(when true
    (if (== waited 0) (:= slow false))
    (if (> waited 0)
        (if slow (:= grow (min grow segment)))
        (!if slow (:= grow 0)))
    (fallthrough))

(when (&& (> grow 0) (|| (== threshold 0) (< Cwnd threshold)))
    (:= Cwnd (+ Cwnd grow))
    (:= grow 0)
    (fallthrough))

(when (> grow 0)
    (:= credit (+ credit grow))
    (if (>= credit Cwnd)
        (:= credit (- credit Cwnd))
        (:= Cwnd (+ Cwnd segment)))
    (fallthrough))
