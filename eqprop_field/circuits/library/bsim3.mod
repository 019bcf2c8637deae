* Device models of our own for a generic 0.18 um process: BSIM3 (MOS level 8).
* They belong to no foundry. A synapse of your own may bring model cards of its own, under other names.
.model nch nmos level=8 version=3.3.0 tnom=27 tox=4n vth0=0.45 k1=0.5 k2=0 nch=2e17 u0=0.035 vsat=1e5 nfactor=2.3 cdsc=0
+ voff=-0.08 eta0=0.02 dsub=0.5 pclm=0.5 pdiblc1=0.1 pdiblc2=0.002 cgso=0.2n cgdo=0.2n cgbo=0.1n
.model pch pmos level=8 version=3.3.0 tnom=27 tox=4n vth0=-0.45 k1=0.5 k2=0 nch=2e17 u0=0.01 vsat=1e5 nfactor=2.3 cdsc=0
+ voff=-0.08 eta0=0.02 dsub=0.5 pclm=0.5 pdiblc1=0.1 pdiblc2=0.002 cgso=0.2n cgdo=0.2n cgbo=0.1n
