(def (Report (volatile acked 0) (timeout false)) (gain 2) (on true))
(when true
    (:= on 7)
    (:= gain true)
    (:= Report.timeout (+ 1 2))
    (:= Cwnd (> 1 2))
    (:= Micros on)
    (report)
)
