# Volatile and lasting variables of both kinds.
(def
    (volatile inner 0)
    (Report
        (volatile count 0)
        (total 0)
        (volatile sum 0)
    )
    (outer 0)
)
(when true
    (:= Report.count (+ Report.count 1))
    (:= Report.total (+ Report.total 1))
    (:= inner (+ inner 1))
    (:= outer (+ outer 1))
    (:= Report.sum (+ inner outer))
    (fallthrough)
)
(when (== Report.count 10)
    (report)
)
