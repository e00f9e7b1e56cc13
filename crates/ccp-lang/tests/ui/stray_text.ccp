(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain "2") (report))
(when on (:= gain {3}) (report))
