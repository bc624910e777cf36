"""Client on geventws."""

import geventws
from tests.bench.clients import done, uri

with geventws.connect(uri(), compression=None) as ws:
    for _message in ws:
        pass
done()
