(def (Report (volatile rate 0) (low +infinity)) (bw 125_000))
(when (&& (> Micros 42ms) (|| Flow.was_timeout (> (/ bw Cwnd) 3)))
    (:= Rate (cycle bw (rtt Report.low) (5/4 1rtt) (0.75 10us) (1 6rtt)))
    (if (! Flow.was_timeout) (report) (else (reset) (fallthrough))))
