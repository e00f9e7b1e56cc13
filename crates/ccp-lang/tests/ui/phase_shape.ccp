(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true
    (:= Rate (cycle gain (5/4 1rtt) 3/4 (1)))
    (:= Rate (cycle gain (5/4 1rtt 2) (x 1rtt) (1 Cwnd)))
    (:= Rate (cycle gain (rtt) (2 1rtt)))
    (:= Rate (cycle gain (rtt Flow.rtt_sample_us)))
    (report))
