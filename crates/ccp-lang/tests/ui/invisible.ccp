(def (Report (volatile acked 0)))
(when true
    (:= Report.acked (+ Report.acked​ 1)) # here it may stand
    (re‍port))
