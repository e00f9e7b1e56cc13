(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true
    (:= Report.acked (+ Report.acked 1)
    (report)
)
