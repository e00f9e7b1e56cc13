(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when (== on 1) (:= on (!= gain Flow.was_timeout)) (report))
