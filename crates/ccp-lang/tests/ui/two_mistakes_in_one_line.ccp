(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (> Flow.rtt 5) (:= gian 3) (:= gain (maximum gain 3)) (report))
