(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true (:= gain (if on 1 false)) (:= Report.timeout (== (if on on 1) true)) (report))
