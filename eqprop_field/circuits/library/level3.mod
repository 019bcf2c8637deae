* Device models of our own for a generic 0.18 um process: MOS level 3 with subthreshold conduction (nfs).
* They belong to no foundry. A synapse of your own may bring model cards of its own, under other names.
* is: junctions of some um2. SPICE's own 1e-14 A grows to 8 nA at 150 degrees, far above what synapses carry.
.model nch nmos level=3 vto=0.45 tox=4n uo=350 gamma=0.4 phi=0.8 nfs=1e12 theta=0.1 vmax=1e5 eta=0.01 kappa=0.2
+ is=1e-18 cgso=0.2n cgdo=0.2n cgbo=0.1n
.model pch pmos level=3 vto=-0.45 tox=4n uo=100 gamma=0.4 phi=0.8 nfs=1e12 theta=0.1 vmax=1e5 eta=0.01 kappa=0.2
+ is=1e-18 cgso=0.2n cgdo=0.2n cgbo=0.1n
