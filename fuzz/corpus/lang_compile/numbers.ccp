(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain 18446744073709551616) (:= gain 42ms) (:= gain 3x) (:= gain 1.25) (:= gain -1) (report))
