(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (if on 1 (else 2))) (report))
(when (if on true (else false)) (report))
