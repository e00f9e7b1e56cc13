(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain acked) (:= gain rtt_sample_us) (report))
