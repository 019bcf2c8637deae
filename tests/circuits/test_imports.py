"""What importing the circuits loads, and what it leaves until it is used."""

import subprocess
import sys


def test_importing_circuits_loads_no_pictures_clusters_or_files():
    code = (
        "import sys, eqprop_field.circuits\n"
        "found = {'matplotlib', 'h5py', 'dask', 'distributed', 'PySpice', 'sklearn', 'pandas'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
