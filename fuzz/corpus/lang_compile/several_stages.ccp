(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when onn
    (:= gain (+ gain true))
    (:= gain (foo 1))
    (report)
)
