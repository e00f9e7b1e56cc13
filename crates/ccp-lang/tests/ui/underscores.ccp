(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain 1_000_) (:= gain 1__0) (:= gain _1) (:= gain 1_000us_) (report))
