# ECN marks, counted over a millisecond. The timer is never reset: after the first millisecond
# every ACK reports.
(def (Report (volatile marks 0)))
(when true
    (:= Report.marks (+ Report.marks Ack.ecn_packets))
    (fallthrough)
)
(when (> Micros 1000)
    (report)
)
