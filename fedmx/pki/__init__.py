"""Identity: certificates, who may join, and who issues them."""
