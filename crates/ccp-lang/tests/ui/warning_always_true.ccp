(def (Report (volatile acked 0)))
(when 1 (if true (:= Report.acked 1)) (fallthrough))
(when (|| (> 2 1) false) (:= Report.acked (if (! false) 1 2)) (!if false (report)))
