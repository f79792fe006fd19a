"""Files from outside and for others: DICOM studies, NRRD volumes, point lists."""
