# Measures over one round-trip time, and in slow start grows the window meanwhile.
(def
    (Report
        (volatile rtt +infinity)   # us, the least since the last report
        (volatile lost 0)          # packets found lost since the last report
        (volatile limited false)   # the window, not the application, limited the flow
        (cwnd 0)                   # bytes
        (mss 0))                   # bytes
    (slow_start true))

(when true
    (:= Report.rtt (min Report.rtt Flow.rtt_sample_us))
    (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
    (if Flow.cwnd_limited
        (:= Report.limited true)
        (if slow_start (:= Cwnd (+ Cwnd (/ Ack.bytes_acked 2)))))
    (:= Report.cwnd Cwnd)
    (:= Report.mss Flow.mss)
    (fallthrough))

(when (> Micros Flow.srtt_us)
    (report)
    (reset))
