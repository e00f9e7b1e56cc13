(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (> Micros 2rtt) (report))
(when true (:= gain (rtt 5)) (report))
