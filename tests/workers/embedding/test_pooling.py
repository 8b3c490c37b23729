from __future__ import annotations

from concurrent.futures import Future

import numpy as np

from workers.embedding.pooling import FileViews, ItemViews, pages_of, put_together
from workers.futures import done
from workers.models.port import Rows


def test_each_view_has_the_tokens_of_its_own_text() -> None:
    x = np.eye(4, dtype=np.float32)
    file = FileViews(index=0, kind="pdf", total_pages=2, pages_read=2, by="text", scanned=False)
    pages = pages_of([(True, False), (True, True)], x[:3], x[3:], [700, 300, 400])
    document = ItemViews(views=((x[0], 700),), tokens=700, file=file, pages=pages)
    image = ItemViews(views=((x[1], None),), tokens=50, visual_tokens=50)
    rows: Future[Rows] = done(x[:2])

    views = put_together(4, [0, 3], rows, {1: done(document), 3: done(image)}, (7, 0, 0, 9), (), {})

    assert views.items == ((0,), (2,), (), (1, 6))
    assert views.text_tokens.tolist() == [7, 9, 700, 300, 400, 0, 0]
    assert views.of_images.tolist() == [False] * 5 + [True, True]
