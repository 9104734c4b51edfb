"""scikit-learn's gradient boosting on a data set of features: no embeddings, no dropout, nothing stored."""
# /// coldstart
# summary = "HistGradientBoostingClassifier on features"
#
# [params.iterations]
# type = "integer"
# default = 50
# minimum = 1
# ///

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


class Learner:
    def fit(self, labelled, labels, seed, warm):
        self.model = HistGradientBoostingClassifier(
            max_iter=self.params["iterations"], min_samples_leaf=2, early_stopping=False, random_state=seed
        )
        self.known = np.unique(labels)
        if len(self.known) > 1:
            self.model.fit(self.data.features(labelled), labels)

    def predict(self, ids):
        probs_nc = np.zeros((len(ids), len(self.data.classes)))
        # Classes without a label yet have the probability 0.
        probs_nc[:, self.known] = self.model.predict_proba(self.data.features(ids)) if len(self.known) > 1 else 1.0
        return probs_nc
