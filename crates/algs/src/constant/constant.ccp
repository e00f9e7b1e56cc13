# A window of so many packets, or as much as the rate needs.
(def
    (Report
        (volatile acked 0)    # bytes acknowledged since the last report
        (volatile lost 0)     # packets found lost since the last report
        (cwnd 0)              # bytes
        (rtt 0))              # us; 0 before the first
    (packets 0)               # the window; 0 if it follows from the rate
    (pace 0))                 # bytes per second; 0 if the datapath paces

(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (if (< RTT 60000000) (:= Report.rtt RTT))
    (if (> packets 0) (:= Cwnd (* packets SEGMENT)))
    (if (== packets 0)
        (:= Cwnd (+ (* 10 SEGMENT)
                    (/ (* (* 2 pace) (min Report.rtt 4000000)) 1000000))))
    (:= Report.cwnd Cwnd)
    (fallthrough))

# Once per round trip, or per millisecond if that is longer: so that one sees the flow live.
(when (>= Micros (max Report.rtt 1ms))
    (report)
    (reset))
