"""The patient's anatomy out of the CT: body, skin, bone, skin markers."""
