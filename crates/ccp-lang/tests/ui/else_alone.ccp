(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (else (report)))
(when on (:= gain (else 3)))
