(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= Flow.rtt_sample_us 5) (:= Ack.nothing 1) (report))
